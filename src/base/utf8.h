#pragma once

#include <cstddef>
#include <string_view>

namespace bailian {

/// The longest prefix of valid UTF-8 `text` that has at most `max_bytes` and ends between two characters.
inline std::string_view utf8_prefix(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  while (max_bytes > 0 && (static_cast<unsigned char>(text[max_bytes]) & 0xc0) == 0x80) --max_bytes;
  return text.substr(0, max_bytes);
}

/// Without the byte order mark that editors on Windows put first.
inline std::string_view without_bom(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return text;
}

/// UTF-16 or UTF-32, as some editors call "Unicode": by its mark, or by the zeros of ASCII in it.
inline bool is_utf16(std::string_view text) {
  return text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
         (text.size() > 1 && (text[0] == '\0' || text[1] == '\0'));
}

}  // namespace bailian
