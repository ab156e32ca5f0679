#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bailian {

// Text as bytes. Character classes are those of ASCII, whatever the locale is.

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_alnum(char c) { return is_alpha(c) || is_digit(c); }
constexpr char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

std::string to_lower(std::string_view text);

/// Empties `text` and frees its memory, which clear() and an assignment keep.
inline void free_memory(std::string& text) { std::string().swap(text); }

inline constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

/// `text` without the characters of `set` at both ends.
std::string_view trim(std::string_view text, std::string_view set = kWhiteSpace);

/// Removes the first item of a list from `rest`, with its separator, and returns it.
std::string_view split_off(std::string_view& rest, char separator);

/// Whether `text` has only characters from '!' to '~'; true for an empty text.
bool is_visible_ascii(std::string_view text);

bool is_web_url(std::string_view text);

/// The length in bytes of the control character that `text` begins with; 0 when it begins with none. Control
/// characters are C0, DEL, C1 (in UTF-8), the line and paragraph separators, and the marks that change the
/// direction of writing: each can forge a line or make a text look like another one.
size_t control_character_bytes(std::string_view text);

/// `text` as one line that is safe to show in a terminal: a space for each control character, `?` for each
/// byte that is not UTF-8.
std::string printable(std::string_view text);

/// The longest prefix of valid UTF-8 `text` that has at most `max_bytes` and ends between two characters.
std::string_view utf8_prefix(std::string_view text, size_t max_bytes);

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Without the byte order mark that editors on Windows put first.
std::string_view without_bom(std::string_view text);

/// UTF-16 or UTF-32, which some editors call "Unicode": recognised by its mark, or by the zero bytes in
/// ASCII.
bool is_utf16(std::string_view text);

}  // namespace bailian
