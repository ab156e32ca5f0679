#include "import/php_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

using Kind = PhpToken::Kind;
using Parts = std::vector<PhpStringPart>;

bool is_hex(char c) { return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f'); }
// PHP accepts every byte above 0x7f in a name.
bool is_word_start(char c) { return is_alpha(c) || c == '_' || static_cast<unsigned char>(c) > 0x7f; }
bool is_word(char c) { return is_word_start(c) || is_digit(c); }
bool is_name(std::string_view text) {
  return !text.empty() && is_word_start(text.front()) && std::all_of(text.begin(), text.end(), is_word);
}

void append_utf8(std::string& to, unsigned code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
    return;
  }
  const unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  to += static_cast<char>((0xff00U >> (more + 1) & 0xff) | code >> 6 * more);
  for (unsigned i = more; i-- > 0;) to += static_cast<char>(0x80 | (code >> 6 * i & 0x3f));
}

/// A text and the position up to which it has been read.
class Scanner {
 protected:
  explicit Scanner(std::string_view text) : text_(text) {}

  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  // NUL behind the end.
  [[nodiscard]] char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  // The position after the brace that closes the one at `start`; npos when none does.
  [[nodiscard]] size_t end_of_braces(size_t start) const {
    size_t depth = 0;
    for (size_t at = start; at < text_.size(); ++at) {
      if (text_[at] == '{') ++depth;
      if (text_[at] == '}' && --depth == 0) return at + 1;
    }
    return std::string_view::npos;
  }

  std::string_view text_;
  size_t at_ = 0;
};

/// The content of a "..." or of a heredoc.
class Template : Scanner {
 public:
  Template(std::string_view text, char quote) : Scanner(text), quote_(quote) {}

  Parts read() {
    while (!at_end()) {
      if (peek() == '\\' && at_ + 1 < text_.size()) {
        read_escape();
      } else if (peek() == '$' && is_word_start(peek(1))) {
        read_variable();
      } else if ((peek() == '{' && peek(1) == '$') || (peek() == '$' && peek(1) == '{')) {
        read_braces();
      } else {
        literal_ += text_[at_++];
      }
    }
    end_literal();
    return std::move(parts_);
  }

 private:
  void end_literal() {
    if (!literal_.empty()) parts_.push_back({false, std::exchange(literal_, {})});
  }
  void add_variable(std::string name) {
    end_literal();
    parts_.push_back({true, std::move(name)});
  }

  void read_escape() {
    const char c = peek(1);
    constexpr std::string_view kNames = "ntrvef\\$";
    constexpr std::string_view kBytes = "\n\t\r\v\x1b\f\\$";
    if (c >= '0' && c <= '7') {
      literal_ += static_cast<char>(read_code(1, 3, 8));
    } else if (c == 'x' && is_hex(peek(2))) {
      literal_ += static_cast<char>(read_code(2, 2, 16));
    } else if (c == 'u' && peek(2) == '{' && is_hex(peek(3))) {
      append_utf8(literal_, std::min(read_code(3, 6, 16), 0x10ffffU));
      if (peek() == '}') ++at_;
    } else {
      const size_t named = kNames.find(c);
      if (named == std::string_view::npos && c != quote_) literal_ += '\\';
      literal_ += named != std::string_view::npos ? kBytes[named] : c;
      at_ += 2;
    }
  }

  // The digits that begin `start` bytes ahead, and what they mean.
  unsigned read_code(size_t start, size_t max_digits, int base) {
    const std::string_view digits = text_.substr(at_ + start, max_digits);
    unsigned code = 0;
    const char* const end = std::from_chars(digits.data(), digits.data() + digits.size(), code, base).ptr;
    at_ += start + static_cast<size_t>(end - digits.data());
    return code;
  }

  std::string read_name() {
    const size_t start = at_;
    while (is_word(peek())) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  // $name, $name->property, or $name[...], which gives a variable without a name.
  void read_variable() {
    ++at_;
    std::string name = read_name();
    if (peek() == '[') {
      at_ = std::min(text_.find(']', at_), text_.size() - 1) + 1;
      name.clear();
    } else if (peek() == '-' && peek(1) == '>' && is_word_start(peek(2))) {
      at_ += 2;
      name += "->" + read_name();
    }
    add_variable(std::move(name));
  }

  // {$name} and {$name->property} are understood; {$name[...]} and ${...} give a variable without a name.
  void read_braces() {
    const size_t start = at_;
    at_ = std::min(end_of_braces(start), text_.size());
    const std::string_view all = text_.substr(start, at_ - start);
    const std::string_view inside = all.size() > 3 ? all.substr(2, all.size() - 3) : "";
    const size_t arrow = inside.find("->");
    const bool is_simple = all.starts_with("{$") && all.ends_with('}') && is_name(inside.substr(0, arrow)) &&
                           (arrow == std::string_view::npos || is_name(inside.substr(arrow + 2)));
    add_variable(is_simple ? std::string(inside) : std::string());
  }

  char quote_;
  std::string literal_;
  Parts parts_;
};

std::string lines_without_indent(const std::vector<std::string_view>& lines, size_t indent) {
  std::string body;
  for (std::string_view line : lines) {
    line.remove_prefix(std::min({indent, line.find_first_not_of(" \t"), line.size()}));
    body.append(line) += '\n';
  }
  for (const char end : {'\n', '\r'}) {
    if (body.ends_with(end)) body.pop_back();
  }
  return body;
}

class Lexer : Scanner {
 public:
  explicit Lexer(std::string_view text) : Scanner(text) {}

  std::vector<PhpToken> read() {
    if (std::min(text_.find("<?php"), text_.find("<?=")) < text_.find("?>")) skip_to_php();
    while (skip_to_token()) read_token();
    if (!open_.empty()) {
      const PhpToken& open = tokens_[open_.back()];
      fail(open.line, fmt::format("the \"{}\" is never closed", open.text));
    }
    tokens_.push_back({Kind::kEnd, line_, {}, {}, 0});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] static void fail(int line, std::string_view what) {
    throw PhpError(fmt::format("line {}: {}", line, what));
  }

  [[nodiscard]] bool sees(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  std::string_view advance(size_t bytes) {
    assert(at_ + bytes <= text_.size());
    const std::string_view taken = text_.substr(at_, bytes);
    line_ += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    at_ += taken.size();
    return taken;
  }

  // Moves past the next <?php or <?=.
  void skip_to_php() {
    for (size_t at = text_.find("<?", at_); at != std::string_view::npos; at = text_.find("<?", at + 2)) {
      const std::string_view opening = text_.substr(at);
      if (opening.starts_with("<?php")) return static_cast<void>(advance(at - at_ + 5));
      if (opening.starts_with("<?=")) return static_cast<void>(advance(at - at_ + 3));
    }
    advance(text_.size() - at_);
  }

  // Skips blanks and comments; false at the end of the text.
  bool skip_to_token() {
    while (!at_end()) {
      if (kWhiteSpace.find(peek()) != std::string_view::npos) {
        advance(1);
      } else if (sees("/*")) {
        const size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) fail(line_, "the comment that begins here does not end");
        advance(end + 2 - at_);
      } else if (sees("//") || (peek() == '#' && peek(1) != '[')) {
        const std::string_view line = text_.substr(at_, text_.find('\n', at_) - at_);
        advance(std::min(line.find("?>"), line.size()));
      } else if (sees("?>")) {
        tokens_.push_back({Kind::kPunctuation, line_, ";", {}, 0});
        advance(2);
        skip_to_php();
      } else {
        return true;
      }
    }
    return false;
  }

  void read_token() {
    const char c = peek();
    const int line = line_;
    if (c == '$' && is_word_start(peek(1))) {
      advance(1);
      add(Kind::kVariable, word_bytes());
    } else if (is_word_start(c) || (c == '\\' && is_word_start(peek(1)))) {
      add(Kind::kWord, word_bytes());
    } else if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      add(Kind::kNumber, number_bytes());
    } else if (c == '\'') {
      add_string(line, single_quoted());
    } else if (c == '"') {
      add_string(line, Template(quoted('"'), '"').read());
    } else if (c == '`') {
      quoted('`');
      add_string(line, {{true, {}}});
    } else if (!sees("<<<") || !read_heredoc()) {
      read_punctuation();
    }
  }

  void add(Kind kind, size_t bytes) {
    const int line = line_;
    tokens_.push_back({kind, line, advance(bytes), {}, 0});
  }
  void add_string(int line, Parts parts) {
    tokens_.push_back({Kind::kString, line, {}, std::move(parts), 0});
  }
  static Parts literal(std::string text) { return text.empty() ? Parts() : Parts{{false, std::move(text)}}; }

  [[nodiscard]] size_t word_bytes() const {
    size_t bytes = 0;
    while (is_word(peek(bytes)) || (peek(bytes) == '\\' && is_word_start(peek(bytes + 1)))) ++bytes;
    return bytes;
  }

  [[nodiscard]] size_t number_bytes() const {
    const auto is_part = [this](size_t i) {
      const bool is_exponent = to_lower(peek(i - 1)) == 'e' && peek(1) != 'x';
      return is_word(peek(i)) || (peek(i) == '.' && is_digit(peek(i + 1))) ||
             (is_exponent && (peek(i) == '-' || peek(i) == '+'));
    };
    size_t bytes = 1;
    while (is_part(bytes)) ++bytes;
    return bytes;
  }

  // The bytes between two quotes, with their escapes. A {$...} may contain quotes.
  std::string_view quoted(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) {
      if (quote == '"' && text_.substr(end).starts_with("{$")) {
        const size_t behind = braces_run_out_ ? std::string_view::npos : end_of_braces(end);
        braces_run_out_ = behind == std::string_view::npos;
        end = braces_run_out_ ? end + 1 : behind;
      } else {
        end += text_[end] == '\\' ? 2 : 1;
      }
    }
    if (end >= text_.size()) fail(line_, "the string that begins here does not end");
    const std::string_view all = advance(end + 1 - at_);
    return all.substr(1, all.size() - 2);
  }

  Parts single_quoted() {
    const std::string_view raw = quoted('\'');
    std::string bytes;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '\\' && i + 1 < raw.size() && (raw[i + 1] == '\'' || raw[i + 1] == '\\')) ++i;
      bytes += raw[i];
    }
    return literal(std::move(bytes));
  }

  // <<<NAME, <<<"NAME" or <<<'NAME'; the indent of the closing name is removed from every line.
  bool read_heredoc() {
    constexpr size_t kMaxOpeningBytes = 256;
    const std::string_view opening = text_.substr(at_, kMaxOpeningBytes);
    const size_t opening_bytes = opening.find('\n') + 1;
    if (opening_bytes == 0) return false;
    std::string_view name = trim(opening.substr(0, opening_bytes).substr(3));
    const char quote = name.empty() || is_word(name.front()) ? '\0' : name.front();
    if (quote == '\'' || quote == '"') {
      if (name.size() < 2 || name.back() != quote) return false;
      name = name.substr(1, name.size() - 2);
    }
    if (!is_name(name)) return false;
    std::vector<std::string_view> lines;
    for (size_t start = at_ + opening_bytes; start <= text_.size(); start += lines.back().size() + 1) {
      const std::string_view line = text_.substr(start, text_.find('\n', start) - start);
      const size_t indent = std::min(line.find_first_not_of(" \t"), line.size());
      const std::string_view rest = line.substr(indent);
      if (rest.starts_with(name) && (rest.size() == name.size() || !is_word(rest[name.size()]))) {
        std::string body = lines_without_indent(lines, indent);
        add_string(line_, quote == '\'' ? literal(std::move(body)) : Template(body, '\0').read());
        advance(start + indent + name.size() - at_);
        return true;
      }
      lines.push_back(line);
    }
    fail(line_, "the heredoc that begins here does not end");
  }

  void read_punctuation() {
    constexpr std::array<std::string_view, 28> kLong = {
        "<<=", "===", "!==", "<=>", "**=", "?\?=", "...", "?->", "=>", "->", "::", ".=", "+=", "-=",
        "*=",  "/=",  "%=",  "??",  "&&",  "||",   "==",  "!=",  "<=", ">=", "++", "--", "<<", "**"};
    const auto* const found =
        std::find_if(kLong.begin(), kLong.end(), [this](auto sign) { return sees(sign); });
    add(Kind::kPunctuation, found != kLong.end() ? found->size() : 1);
    const char c = tokens_.back().text.front();
    if (c == '(' || c == '[' || c == '{') open();
    if (c == ')' || c == ']' || c == '}') close(c);
  }

  void open() {
    open_.push_back(tokens_.size() - 1);
    if (open_.size() > kMaxPhpDepth) fail(line_, fmt::format("nested deeper than {}", kMaxPhpDepth));
  }

  void close(char c) {
    const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (open_.empty() || tokens_[open_.back()].text.front() != wanted) {
      fail(line_, fmt::format("the \"{}\" closes nothing", c));
    }
    tokens_.back().partner = open_.back();
    tokens_[open_.back()].partner = tokens_.size() - 1;
    open_.pop_back();
  }

  int line_ = 1;
  std::vector<PhpToken> tokens_;
  std::vector<size_t> open_;     // indices of the brackets that are not closed yet
  bool braces_run_out_ = false;  // no brace closes a {$; not searched for again, so that reading stays linear
};

}  // namespace

std::vector<PhpToken> read_php_tokens(std::string_view text) {
  if (text.size() > kMaxPhpBytes) throw PhpError(fmt::format("longer than {} bytes", kMaxPhpBytes));
  return Lexer(without_bom(text)).read();
}

}  // namespace bailian
