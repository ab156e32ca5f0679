#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bailian {

/// How many bytes the control character takes that `text` begins with; 0 when it begins with none. Controls
/// are C0, DEL, C1 (in UTF-8), line and paragraph separator, and the marks that turn the direction of
/// writing: each can forge a line or show another text than there is.
size_t control_character_bytes(std::string_view text);

/// `text` as one line that is safe to show in a terminal: a space for each control character, `?` for each
/// byte that is no UTF-8.
std::string printable(std::string_view text);

}  // namespace bailian
