#pragma once

// The home of RapidJSON: everything that reads or writes JSON includes this file.
//
// RAPIDJSON_SSE2 stays undefined: the SIMD code of 1.1.0, which Debian ships, takes 0x1a to 0x1f for plain
// characters, so it writes them raw into strings.

#define RAPIDJSON_HAS_STDSTRING 1

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace bailian {

/// RapidJSON does not check whether an allocation succeeded.
struct JsonAllocator {
  static const bool kNeedFree = true;
  void* Malloc(size_t size) { return size > 0 ? checked(std::malloc(size)) : nullptr; }
  void* Realloc(void* block, size_t, size_t size) {
    if (size > 0) return checked(std::realloc(block, size));
    std::free(block);
    return nullptr;
  }
  static void Free(void* block) { std::free(block); }

 private:
  static void* checked(void* block) { return block != nullptr ? block : throw std::bad_alloc(); }
};

using JsonPool = rapidjson::MemoryPoolAllocator<JsonAllocator>;
using JsonValue = rapidjson::GenericValue<rapidjson::UTF8<>, JsonPool>;
using JsonDocument = rapidjson::GenericDocument<rapidjson::UTF8<>, JsonPool, JsonAllocator>;
using JsonReader = rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, JsonAllocator>;
using JsonBuffer = rapidjson::GenericStringBuffer<rapidjson::UTF8<>, JsonAllocator>;
using JsonWriter = rapidjson::Writer<JsonBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, JsonAllocator>;

/// Deepest nesting of arrays and objects that is read anywhere.
inline constexpr int kMaxJsonDepth = 64;

struct JsonFault {
  std::string what;
  size_t offset_bytes = 0;  // from 0
};

/// Reads exactly one JSON value: valid UTF-8, only white space after it, at most kMaxJsonDepth deep.
/// A NUL byte never ends the text. Returns a description of the error, or nothing.
std::optional<JsonFault> parse_json(std::string_view text, JsonDocument& into);

/// The member called `name`; the last of several, as in PHP and Python. nullptr when there is none.
const JsonValue* find_member(const JsonValue& object, std::string_view name);

inline std::string_view as_view(const JsonValue& string) noexcept {
  return {string.GetString(), string.GetStringLength()};
}

bool is_utf8(std::string_view text);

/// How many bytes `c` takes in a JSON string that JsonWriter writes. Each byte of a multi-byte character
/// counts as one.
inline size_t json_bytes(char c) {
  constexpr size_t kUnicodeEscape = 6;
  if (c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t') return 2;
  return static_cast<unsigned char>(c) < 0x20 ? kUnicodeEscape : 1;
}
size_t json_bytes(std::string_view text);

/// Appends `text` as a JSON string. JsonWriter would reserve six times its size.
void append_json_string(std::string& out, std::string_view text);

/// Compact JSON in raw UTF-8.
std::string to_json(const JsonValue& value);

/// `json`, which must be valid, with line breaks and indents.
std::string pretty_json(std::string_view json);

inline void write_string(JsonWriter& writer, std::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}
inline void write_member(JsonWriter& writer, std::string_view key, std::string_view text) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  write_string(writer, text);
}
std::string_view written(const JsonBuffer& buffer);

}  // namespace bailian
