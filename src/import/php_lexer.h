#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

// The tokens of a PHP file. https://www.php.net/manual/en/langref.php

/// The text cannot be read as PHP. what() names the line.
class PhpError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A part of a string: its bytes, or the name of a variable ("name", "this->name"; empty for anything more
/// complex).
struct PhpStringPart {
  bool is_variable = false;
  std::string text;
};

struct PhpToken {
  enum class Kind {
    kVariable,  // text: the name without $
    kWord,      // an identifier or a keyword
    kNumber,
    kString,       // parts
    kPunctuation,  // text: "=>", "(", ...
    kEnd
  };
  Kind kind = Kind::kEnd;
  int line = 0;                      // from 1
  std::string_view text;             // points into the text that was read
  std::vector<PhpStringPart> parts;  // of a string; an empty string has none
  size_t partner = 0;                // of a bracket: the index of the matching one

  [[nodiscard]] bool is(std::string_view punctuation) const {
    return kind == Kind::kPunctuation && text == punctuation;
  }
};

/// The longest file that is read, and the deepest nesting of brackets.
inline constexpr size_t kMaxPhpBytes = size_t{1} << 20;
inline constexpr size_t kMaxPhpDepth = 64;

/// The tokens, ending with a kEnd; every bracket has a partner. Text outside of <?php ... ?> is left out; a
/// snippet without <?php is PHP from its first byte. Throws PhpError.
std::vector<PhpToken> read_php_tokens(std::string_view text);

}  // namespace bailian
