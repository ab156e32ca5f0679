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

}  // namespace bailian
