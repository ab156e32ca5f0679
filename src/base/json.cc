#include "base/json.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>

namespace bailian {
namespace {

constexpr std::string_view kFirstHalves = "89abAB";
constexpr std::string_view kSecondHalves = "cdefCDEF";

// Whether `text` begins with the escape of half a surrogate pair.
bool is_half(std::string_view text, std::string_view halves) {
  return text.size() > 3 && (text.starts_with("\\ud") || text.starts_with("\\uD")) &&
         halves.find(text[3]) != std::string_view::npos;
}

// Two checks that RapidJSON does not make: the nesting depth, and the second half of a surrogate pair without
// the first half before it.
std::optional<JsonFault> find_overlooked_fault(std::string_view text) {
  constexpr size_t kHalfBytes = 6;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '"') in_string = false;
      if (c != '\\') continue;
      const std::string_view escape = text.substr(i);
      if (is_half(escape, kSecondHalves)) return JsonFault{"half a surrogate pair", i};
      const bool is_pair = is_half(escape, kFirstHalves) && escape.size() > kHalfBytes &&
                           is_half(escape.substr(kHalfBytes), kSecondHalves);
      i += is_pair ? kHalfBytes + 1 : 1;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return JsonFault{fmt::format("nested deeper than {}", kMaxJsonDepth), i};
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

// How many bytes of ASCII `text` begins with. Eight at a time: most of what the upstream sends is ASCII.
size_t ascii_bytes(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  size_t bytes = 0;
  for (uint64_t word = 0; text.size() - bytes >= sizeof word; bytes += sizeof word) {
    std::memcpy(&word, text.data() + bytes, sizeof word);
    if ((word & kHighBits) != 0) break;
  }
  while (bytes < text.size() && static_cast<unsigned char>(text[bytes]) < 0x80) ++bytes;
  return bytes;
}

// A stream of RapidJSON's.
struct Appender {
  using Ch = char;
  std::string& out;
  void Put(char c) { out += c; }
  void Flush() {}
};

}  // namespace

std::optional<JsonFault> parse_json(std::string_view text, JsonDocument& into) {
  if (auto fault = find_overlooked_fault(text)) return fault;
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

// Not with the validating Writer: it reads past the end of a text that ends within a character.
bool is_utf8(std::string_view text) {
  struct Nowhere {
    void Put(char) {}
  } nowhere;
  rapidjson::MemoryStream bytes(text.data(), text.size());
  while (true) {
    bytes.src_ += ascii_bytes(text.substr(bytes.Tell()));
    if (bytes.Tell() == text.size()) return true;
    if (!rapidjson::UTF8<>::Validate(bytes, nowhere)) return false;
  }
}

size_t json_bytes(std::string_view text) {
  size_t bytes = 0;
  for (const char c : text) bytes += json_bytes(c);
  return bytes;
}

void append_json_string(std::string& out, std::string_view text) {
  Appender appender{out};
  rapidjson::Writer<Appender, rapidjson::UTF8<>, rapidjson::UTF8<>, JsonAllocator> writer(appender);
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

std::string_view written(const JsonBuffer& buffer) { return {buffer.GetString(), buffer.GetSize()}; }

std::string to_json(const JsonValue& value) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  value.Accept(writer);
  return std::string(written(buffer));
}

std::string pretty_json(std::string_view json) {
  JsonDocument document;
  parse_json(json, document);
  JsonBuffer buffer;
  rapidjson::PrettyWriter<JsonBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, JsonAllocator> writer(buffer);
  writer.SetIndent(' ', 2);
  document.Accept(writer);
  return std::string(written(buffer)) + '\n';
}

}  // namespace bailian
