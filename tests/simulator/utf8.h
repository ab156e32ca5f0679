#pragma once

#include <cstddef>
#include <string_view>

namespace bailian::simulator {

// Length of the character that starts `text`, which is valid UTF-8 and not empty.
std::size_t char_bytes(std::string_view text);

// Whether `text` starts with a Han character.
bool starts_with_han(std::string_view text);

bool has_han(std::string_view text);

}  // namespace bailian::simulator
