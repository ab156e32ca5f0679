#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

// The words of a PHP file. https://www.php.net/manual/en/langref.php

/// The text cannot be read as PHP. what() names the line.
class PhpError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A piece of a string: its bytes, or a variable's name ("name", "this->name"; empty when it is more than
/// that).
struct PhpStringPart {
  bool is_variable = false;
  std::string text;
};

struct PhpToken {
  enum class Kind {
    kVariable,  // text: the name without $
    kWord,      // an identifier or a keyword
    kNumber,
    kString,  // parts
    kSign,    // text: "=>", "(", ...
    kEnd
  };
  Kind kind = Kind::kEnd;
  int line = 0;                      // from 1
  std::string_view text;             // points into the text that was read
  std::vector<PhpStringPart> parts;  // of a string; none: empty
  size_t partner = 0;                // of a bracket: the index of the other one

  [[nodiscard]] bool is(std::string_view sign) const { return kind == Kind::kSign && text == sign; }
};

/// Longest file that is read, and deepest nesting of brackets.
inline constexpr size_t kMaxPhpBytes = size_t{1} << 20;
inline constexpr size_t kMaxPhpDepth = 64;

/// Ends with a kEnd. Every bracket has its partner. What lies outside <?php ... ?> is left out; a snippet
/// that has no <?php is PHP from its first byte. Throws PhpError.
std::vector<PhpToken> read_php_tokens(std::string_view text);

}  // namespace bailian
