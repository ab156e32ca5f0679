#include "json.h"

#include <fmt/format.h>

namespace bailian {
namespace {

// RapidJSON has no limit of its own. Brackets inside strings do not count.
std::optional<size_t> first_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<JsonFault> parse_json(std::string_view text, JsonDocument& into) {
  if (const auto offset = first_too_deep(text)) {
    return JsonFault{fmt::format("nested deeper than {}", kMaxJsonDepth), *offset};
  }
  rapidjson::MemoryStream bytes(text.data(), text.size());
  rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(bytes);
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag;
  into.ParseStream<kFlags>(stream);
  if (into.HasParseError()) {
    return JsonFault{rapidjson::GetParseError_En(into.GetParseError()), into.GetErrorOffset()};
  }
  if (stream.Tell() < text.size()) return JsonFault{"unexpected NUL byte", stream.Tell()};
  return std::nullopt;
}

const JsonValue* find_member(const JsonValue& object, std::string_view name) {
  if (!object.IsObject()) return nullptr;
  for (auto member = object.MemberEnd(); member != object.MemberBegin();) {
    --member;
    if (as_view(member->name) == name) return &member->value;
  }
  return nullptr;
}

bool is_utf8(std::string_view text) {
  JsonBuffer buffer;
  rapidjson::Writer<JsonBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, JsonAllocator,
                    rapidjson::kWriteValidateEncodingFlag>
      writer(buffer);
  return writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

std::string to_json(const JsonValue& value) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  value.Accept(writer);
  return std::string(written(buffer));
}

}  // namespace bailian
