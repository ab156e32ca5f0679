#include "utf8.h"

#include <algorithm>

namespace bailian::simulator {

std::size_t char_bytes(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return std::min(length, text.size());
}

bool starts_with_han(std::string_view text) {
  if (text.size() < 3) return false;
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) == 0xF0) return byte(1) >= 0xA0 && byte(1) < 0xB2;  // U+20000 to U+31FFF
  if (byte(0) < 0xE3 || byte(0) > 0xE9) return false;
  const unsigned code = (byte(0) & 0x0FU) << 12U | (byte(1) & 0x3FU) << 6U | (byte(2) & 0x3FU);
  return (code >= 0x3400 && code <= 0x4DBF) || (code >= 0x4E00 && code <= 0x9FFF);
}

bool has_han(std::string_view text) {
  for (; !text.empty(); text.remove_prefix(char_bytes(text))) {
    if (starts_with_han(text)) return true;
  }
  return false;
}

}  // namespace bailian::simulator
