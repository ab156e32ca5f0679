#include "base/text.h"

#include <algorithm>

namespace bailian {
namespace {

unsigned char byte_at(std::string_view text, size_t at) {
  return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
}

// The bytes of the well-formed character that `text` begins with; 0 when it begins with none (RFC 3629, 4).
size_t character_bytes(std::string_view text) {
  const unsigned char lead = byte_at(text, 0);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte_at(text, i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte_at(text, 1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool outside = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return overlong || outside ? 0 : size;
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = to_lower(c);
  return result;
}

std::string_view trim(std::string_view text, std::string_view set) {
  text.remove_prefix(std::min(text.find_first_not_of(set), text.size()));
  return text.substr(0, text.find_last_not_of(set) + 1);
}

std::string_view split_off(std::string_view& rest, char separator) {
  const std::string_view item = rest.substr(0, rest.find(separator));
  rest.remove_prefix(std::min(item.size() + 1, rest.size()));
  return item;
}

bool is_visible_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

bool is_web_url(std::string_view text) { return text.starts_with("https://") || text.starts_with("http://"); }

size_t control_character_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const unsigned char first = byte_at(text, 0);
  const unsigned char second = byte_at(text, 1);
  const unsigned char third = byte_at(text, 2);
  if (first < 0x20 || first == 0x7f) return 1;
  if (first == 0xc2 && second >= 0x80 && second < 0xa0) return 2;  // C1
  if (first == 0xd8 && second == 0x9c) return 2;                   // U+061C
  if (first != 0xe2) return 0;
  const bool is_mark = second == 0x80 && (third == 0x8e || third == 0x8f);         // U+200E, U+200F
  const bool is_break_or_turn = second == 0x80 && third >= 0xa8 && third <= 0xae;  // U+2028 to U+202E
  const bool is_isolate = second == 0x81 && third >= 0xa6 && third <= 0xa9;        // U+2066 to U+2069
  return is_mark || is_break_or_turn || is_isolate ? 3 : 0;
}

std::string printable(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const size_t control = control_character_bytes(text);
    const size_t character = character_bytes(text);
    line += control > 0 ? " " : character == 0 ? "?" : text.substr(0, character);
    text.remove_prefix(std::max({control, character, size_t{1}}));
  }
  return line;
}

std::string_view utf8_prefix(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  while (max_bytes > 0 && (byte_at(text, max_bytes) & 0xc0) == 0x80) --max_bytes;
  return text.substr(0, max_bytes);
}

std::string_view without_bom(std::string_view text) {
  return text.substr(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
}

bool is_utf16(std::string_view text) {
  return text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
         (text.size() > 1 && (text[0] == '\0' || text[1] == '\0'));
}

}  // namespace bailian
