#include "harness/json.h"

#include <rapidjson/error/en.h>
#include <rapidjson/pointer.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <stdexcept>

namespace bailian::e2e {
namespace {

const JsonValue* find(const JsonValue& value, std::string_view where) {
  return rapidjson::Pointer(where.data(), where.size()).Get(value);
}

const JsonValue& expected_kind(bool is_right, const JsonValue& value, std::string_view where,
                               const char* kind) {
  if (!is_right) throw std::runtime_error(std::string(where) + " is no " + kind + " but " + to_text(value));
  return value;
}

}  // namespace

Json parse_json(std::string_view text) {
  constexpr auto kStrict = rapidjson::kParseValidateEncodingFlag | rapidjson::kParseIterativeFlag;
  Json json;
  json.Parse<kStrict>(text.data(), text.size());
  if (json.HasParseError())
    throw std::runtime_error(std::string("not JSON: ") + rapidjson::GetParseError_En(json.GetParseError()) +
                             " at byte " + std::to_string(json.GetErrorOffset()) +
                             " of: " + std::string(text.substr(0, 2000)));
  return json;
}

const JsonValue& at(const JsonValue& value, std::string_view where) {
  const auto* found = find(value, where);
  if (found == nullptr) throw std::runtime_error("no " + std::string(where) + " in " + to_text(value));
  return *found;
}

bool has(const JsonValue& value, std::string_view where) { return find(value, where) != nullptr; }

std::string text_at(const JsonValue& value, std::string_view where) {
  const auto& found = at(value, where);
  expected_kind(found.IsString(), found, where, "string");
  return {found.GetString(), found.GetStringLength()};
}

int64_t number_at(const JsonValue& value, std::string_view where) {
  const auto& found = at(value, where);
  return expected_kind(found.IsInt64(), found, where, "integer").GetInt64();
}

bool bool_at(const JsonValue& value, std::string_view where) {
  const auto& found = at(value, where);
  return expected_kind(found.IsBool(), found, where, "boolean").GetBool();
}

std::vector<std::string> member_names(const JsonValue& object) {
  std::vector<std::string> names;
  for (const auto& member : expected_kind(object.IsObject(), object, "the value", "object").GetObject())
    names.emplace_back(member.name.GetString(), member.name.GetStringLength());
  return names;
}

testing::AssertionResult is_json(const JsonValue& actual, std::string_view expected) {
  if (actual == parse_json(expected)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "  actual: " << to_text(actual) << "\nexpected: " << expected;
}

std::string to_text(const JsonValue& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string json_string(std::string_view text) {
  return to_text(JsonValue(text.data(), static_cast<rapidjson::SizeType>(text.size())));
}

}  // namespace bailian::e2e
