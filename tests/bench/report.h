#pragma once

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <string_view>

#include "processes.h"
#include "quantiles.h"

namespace bailian::bench {

/// Writes the figures of one run as a JSON object.
class Report {
 public:
  Report() {
    writer_.SetMaxDecimalPlaces(3);
    writer_.StartObject();
  }

  void key(std::string_view name) { writer_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size())); }
  void begin(std::string_view name) {
    key(name);
    writer_.StartObject();
  }
  void begin() { writer_.StartObject(); }
  void end() { writer_.EndObject(); }
  void begin_list(std::string_view name) {
    key(name);
    writer_.StartArray();
  }
  void end_list() { writer_.EndArray(); }

  void add(std::string_view name, std::string_view text) {
    key(name);
    writer_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
  void add(std::string_view name, double number) {
    key(name);
    writer_.Double(number);
  }
  void add(std::string_view name, size_t number) {
    key(name);
    writer_.Uint64(number);
  }
  void add(double number) { writer_.Double(number); }
  void add(std::string_view name, Quantiles& quantiles) {
    begin(name);
    for (const auto& [word, quantile] :
         {std::pair{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}}) {
      add(word, quantiles.us(quantile));
    }
    end();
  }

  std::string_view finish() {
    writer_.EndObject();
    return {buffer_.GetString(), buffer_.GetSize()};
  }

 private:
  rapidjson::StringBuffer buffer_;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer_{buffer_};
};

}  // namespace bailian::bench
