// Whatever the values, a log line is one line and has the given fields.
#include <fuzzer/FuzzedDataProvider.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "fuzz.h"

namespace bailian {
namespace {

constexpr std::string_view kKeys[] = {"first", "second", "third", "fourth"};

bool is_control(std::string_view text, size_t at) { return control_character_bytes(text.substr(at)) > 0; }

// The keys of the fields in a text line, as found by a reader that respects quotes.
std::vector<std::string> keys_of(std::string_view fields) {
  std::vector<std::string> keys;
  while (!fields.empty()) {
    fuzz::expect(fields.starts_with(' '), "a space stands before a field");
    fields.remove_prefix(1);
    const size_t equals = fields.find('=');
    fuzz::expect(equals != std::string_view::npos, "a field has a value");
    keys.emplace_back(fields.substr(0, equals));
    fields.remove_prefix(equals + 1);
    if (!fields.starts_with('"')) {
      fields.remove_prefix(std::min(fields.find(' '), fields.size()));
      continue;
    }
    size_t end = 1;
    while (end < fields.size() && fields[end] != '"') end += fields[end] == '\\' ? 2 : 1;
    fuzz::expect(end < fields.size(), "a quoted value ends");
    fields.remove_prefix(end + 1);
  }
  return keys;
}

void check_text(const LogFields& fields) {
  const std::string line = format_log_line(LogFormat::kText, "T", LogLevel::kInfo, "event", "", fields);
  for (size_t i = 0; i < line.size(); ++i)
    fuzz::expect(!is_control(line, i), "a line has no control character");
  constexpr std::string_view kStart = "T info    event";
  fuzz::expect(line.starts_with(kStart), "a line begins with time, level and event");
  const auto keys = keys_of(std::string_view(line).substr(kStart.size()));
  fuzz::expect(keys.size() == fields.size(), "no value makes or eats a field");
  for (size_t i = 0; i < keys.size(); ++i) fuzz::expect(keys[i] == fields[i].key, "fields keep their order");
}

void check_json(const std::string& message, const LogFields& fields) {
  const std::string line =
      format_log_line(LogFormat::kJson, "T", LogLevel::kWarning, "event", message, fields);
  for (size_t i = 0; i < line.size(); ++i)
    fuzz::expect(!is_control(line, i), "a line is one line, without control characters");
  JsonDocument json;
  fuzz::expect(!parse_json(line, json), "a line is JSON");
  fuzz::expect(json.MemberCount() == 3 + (message.empty() ? 0 : 1) + fields.size(),
               "no value makes or eats a field");
  for (const LogField& field : fields) {
    const JsonValue& value = *find_member(json, field.key);
    fuzz::expect(value.IsNumber() == field.is_number, "a number stays a number");
    fuzz::expect(field.is_number || !is_utf8(field.text) || as_view(value) == field.text,
                 "a text stays as it is");
  }
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  FuzzedDataProvider input(data, size);
  LogFields fields;
  for (const std::string_view key : kKeys) {
    if (input.remaining_bytes() == 0) break;
    if (input.ConsumeIntegralInRange(0, 7) == 0) {
      fields.emplace_back(key, static_cast<double>(input.ConsumeIntegral<int64_t>()) / 1000);
    } else {
      fields.emplace_back(key, input.ConsumeRandomLengthString());
    }
  }
  const std::string message = input.ConsumeRemainingBytesAsString();
  check_text(fields);
  check_json(message, fields);
  return 0;
}
