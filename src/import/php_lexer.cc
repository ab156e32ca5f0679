#include "import/php_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace bailian {
namespace {

using Kind = PhpToken::Kind;
using Parts = std::vector<PhpStringPart>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v'; }
// PHP takes every byte over 0x7f for a letter.
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) > 0x7f;
}
bool is_word(char c) { return is_word_start(c) || is_digit(c); }

void append_utf8(std::string& to, unsigned long code) {
  const auto put = [&to](unsigned long byte) { to += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

// The content of a "..." or of a heredoc.
class Template {
 public:
  explicit Template(std::string_view text, char quote) : text_(text), quote_(quote) {}

  Parts read() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size()) {
        read_escape();
      } else if (c == '$' && is_word_start(char_at(at_ + 1))) {
        read_variable();
      } else if ((c == '{' && char_at(at_ + 1) == '$') || (c == '$' && char_at(at_ + 1) == '{')) {
        read_braces();
      } else {
        literal_ += c;
        ++at_;
      }
    }
    end_literal();
    return std::move(parts_);
  }

 private:
  [[nodiscard]] char char_at(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

  void end_literal() {
    if (!literal_.empty()) parts_.push_back({false, std::exchange(literal_, {})});
  }
  void add_variable(std::string name) {
    end_literal();
    parts_.push_back({true, std::move(name)});
  }

  void read_escape() {
    const char c = text_[at_ + 1];
    constexpr std::string_view kNames = "ntrvef\\$";
    constexpr std::string_view kBytes = "\n\t\r\v\x1b\f\\$";
    if (const size_t i = kNames.find(c); i != std::string_view::npos) {
      literal_ += kBytes[i];
    } else if (c == quote_) {
      literal_ += c;
    } else if (c >= '0' && c <= '7') {
      return read_code(at_ + 1, 3, 8, false);
    } else if (c == 'x' && is_hex(char_at(at_ + 2))) {
      return read_code(at_ + 2, 2, 16, false);
    } else if (c == 'u' && char_at(at_ + 2) == '{' && is_hex(char_at(at_ + 3))) {
      read_code(at_ + 3, 6, 16, true);
      if (char_at(at_) == '}') ++at_;
      return;
    } else {
      literal_ += '\\';
      literal_ += c;
    }
    at_ += 2;
  }

  void read_code(size_t at, size_t most_digits, unsigned base, bool utf8) {
    unsigned long code = 0;
    for (size_t digits = 0; digits < most_digits && is_hex(char_at(at)); ++digits, ++at) {
      const char c = text_[at];
      const auto digit = static_cast<unsigned>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
      if (digit >= base) break;
      code = code * base + digit;
    }
    if (utf8) {
      append_utf8(literal_, std::min(code, 0x10fffful));
    } else {
      literal_ += static_cast<char>(code);
    }
    at_ = at;
  }

  std::string read_name() {
    const size_t start = at_;
    while (is_word(char_at(at_)) && at_ < text_.size()) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  // $name, $name->property, $name[...]
  void read_variable() {
    ++at_;
    std::string name = read_name();
    if (char_at(at_) == '[') {
      while (at_ < text_.size() && text_[at_] != ']') ++at_;
      ++at_;
      name.clear();
    } else if (char_at(at_) == '-' && char_at(at_ + 1) == '>' && is_word_start(char_at(at_ + 2))) {
      at_ += 2;
      name += "->" + read_name();
    }
    add_variable(std::move(name));
  }

  // {$name} is understood; {$name[...]} and ${...} are more than a name.
  void read_braces() {
    const bool dollar_first = text_[at_] == '$';
    const size_t start = at_ + 2;
    size_t depth = 0;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '{') ++depth;
      if (text_[at_] == '}' && --depth == 0) break;
    }
    const std::string_view inside = text_.substr(start, std::max(at_, start) - start);
    ++at_;
    const size_t arrow = inside.find("->");
    const auto is_name = [](std::string_view text) {
      return !text.empty() && is_word_start(text.front()) && std::all_of(text.begin(), text.end(), is_word);
    };
    const bool simple = arrow == std::string_view::npos
                            ? is_name(inside)
                            : is_name(inside.substr(0, arrow)) && is_name(inside.substr(arrow + 2));
    add_variable(simple && !dollar_first ? std::string(inside) : std::string());
  }

  std::string_view text_;
  char quote_;
  size_t at_ = 0;
  std::string literal_;
  Parts parts_;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
  }

  std::vector<PhpToken> read() {
    const size_t opened = text_.find("<?php");
    const size_t opened_short = text_.find("<?=");
    if (std::min(opened, opened_short) < text_.find("?>")) skip_to_php();
    while (skip_blanks_and_comments()) read_token();
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

  [[nodiscard]] char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  [[nodiscard]] bool sees(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  std::string_view advance(size_t bytes) {
    const std::string_view taken = text_.substr(at_, bytes);
    line_ += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    at_ += taken.size();
    return taken;
  }

  // Behind the next <?php or <?=.
  void skip_to_php() {
    for (size_t at = text_.find("<?", at_); at != std::string_view::npos; at = text_.find("<?", at + 2)) {
      const std::string_view opening = text_.substr(at, 5);
      if (opening == "<?php" || opening.starts_with("<?=")) {
        advance(at - at_ + (opening == "<?php" ? 5 : 3));
        return;
      }
    }
    advance(text_.size());
  }

  // False at the end of the text.
  bool skip_blanks_and_comments() {
    while (!at_end()) {
      if (is_blank(peek())) {
        advance(1);
      } else if (sees("/*")) {
        const size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) fail(line_, "the comment that begins here does not end");
        advance(end + 2 - at_);
      } else if (sees("//") || (peek() == '#' && peek(1) != '[')) {
        const std::string_view line = text_.substr(at_, text_.find('\n', at_) - at_);
        advance(std::min(line.find("?>"), line.size()));
      } else if (sees("?>")) {
        tokens_.push_back({Kind::kSign, line_, ";", {}, 0});
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
    if (c == '$' && is_word_start(peek(1))) {
      advance(1);
      add(Kind::kVariable, word_bytes());
    } else if (is_word_start(c) || (c == '\\' && is_word_start(peek(1)))) {
      add(Kind::kWord, word_bytes());
    } else if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      add(Kind::kNumber, number_bytes());
    } else if (c == '\'') {
      read_single_quoted();
    } else if (c == '"') {
      const int line = line_;
      add_string(line, Template(quoted('"'), '"').read());
    } else if (c == '`') {
      const int line = line_;
      quoted('`');
      add_string(line, {{true, {}}});
    } else if (sees("<<<") && read_heredoc()) {
      return;
    } else {
      read_sign();
    }
  }

  void add(Kind kind, size_t bytes) {
    const int line = line_;
    tokens_.push_back({kind, line, advance(bytes), {}, 0});
  }
  void add_string(int line, Parts parts) {
    tokens_.push_back({Kind::kString, line, {}, std::move(parts), 0});
  }

  [[nodiscard]] size_t word_bytes() const {
    size_t bytes = 0;
    while (is_word(peek(bytes)) || (peek(bytes) == '\\' && is_word_start(peek(bytes + 1)))) ++bytes;
    return bytes;
  }

  [[nodiscard]] size_t number_bytes() const {
    size_t bytes = 0;
    while (
        is_word(peek(bytes)) || (peek(bytes) == '.' && is_digit(peek(bytes + 1))) ||
        ((peek(bytes) == '-' || peek(bytes) == '+') && (peek(bytes - 1) | 0x20) == 'e' && peek(1) != 'x')) {
      ++bytes;
    }
    return bytes;
  }

  // The bytes between two quotes, escapes and all. A {$...} may hold quotes of its own.
  std::string_view quoted(char quote) {
    const int line = line_;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) {
      if (quote == '"' && text_[end] == '{' && end + 1 < text_.size() && text_[end + 1] == '$') {
        end = end_of_braces(end);
      } else {
        end += text_[end] == '\\' ? 2 : 1;
      }
    }
    if (end >= text_.size()) fail(line, "the string that begins here does not end");
    const std::string_view all = advance(end + 1 - at_);
    return all.substr(1, all.size() - 2);
  }

  // Behind the brace that closes the one at `start`; when there is none, behind that one itself.
  size_t end_of_braces(size_t start) {
    size_t depth = 0;
    for (size_t at = start; at < text_.size() && !braces_run_out_; ++at) {
      if (text_[at] == '{') ++depth;
      if (text_[at] == '}' && --depth == 0) return at + 1;
    }
    braces_run_out_ = true;
    return start + 1;
  }

  void read_single_quoted() {
    const int line = line_;
    const std::string_view raw = quoted('\'');
    std::string bytes;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '\\' && i + 1 < raw.size() && (raw[i + 1] == '\'' || raw[i + 1] == '\\')) ++i;
      bytes += raw[i];
    }
    add_string(line, bytes.empty() ? Parts() : Parts{{false, std::move(bytes)}});
  }

  // <<<NAME, <<<"NAME" or <<<'NAME'; the closing name may be indented, and its indent is taken off every
  // line.
  bool read_heredoc() {
    const int line = line_;
    size_t at = at_ + 3;
    while (at < text_.size() && (text_[at] == ' ' || text_[at] == '\t')) ++at;
    const char quote = at < text_.size() && (text_[at] == '\'' || text_[at] == '"') ? text_[at++] : '\0';
    const size_t name_start = at;
    while (at < text_.size() && is_word(text_[at])) ++at;
    const std::string_view name = text_.substr(name_start, at - name_start);
    if (name.empty() || !is_word_start(name.front())) return false;
    if (quote != '\0' && (at >= text_.size() || text_[at++] != quote)) return false;
    if (at < text_.size() && text_[at] == '\r') ++at;
    if (at >= text_.size() || text_[at] != '\n') return false;

    std::string body;
    std::vector<std::string_view> lines;
    for (size_t start = at + 1; start <= text_.size();) {
      const size_t end = std::min(text_.find('\n', start), text_.size());
      const std::string_view one = text_.substr(start, end - start);
      const size_t indent = std::min(one.find_first_not_of(" \t"), one.size());
      const std::string_view rest = one.substr(indent);
      if (rest.starts_with(name) && (rest.size() == name.size() || !is_word(rest[name.size()]))) {
        for (size_t i = 0; i < lines.size(); ++i) {
          std::string_view text = lines[i];
          text.remove_prefix(std::min({indent, text.find_first_not_of(" \t"), text.size()}));
          if (i + 1 == lines.size() && text.ends_with('\r')) text.remove_suffix(1);
          body.append(text).append(i + 1 < lines.size() ? "\n" : "");
        }
        advance(start + indent + name.size() - at_);
        add_string(line, quote == '\'' ? (body.empty() ? Parts() : Parts{{false, std::move(body)}})
                                       : Template(body, '\0').read());
        return true;
      }
      lines.push_back(one);
      start = end + 1;
    }
    fail(line, "the heredoc that begins here does not end");
  }

  void read_sign() {
    constexpr std::array<std::string_view, 28> kLong = {
        "<<=", "===", "!==", "<=>", "**=", "?\?=", "...", "?->", "=>", "->", "::", ".=", "+=", "-=",
        "*=",  "/=",  "%=",  "??",  "&&",  "||",   "==",  "!=",  "<=", ">=", "++", "--", "<<", "**"};
    const auto* const found =
        std::find_if(kLong.begin(), kLong.end(), [this](auto sign) { return sees(sign); });
    add(Kind::kSign, found != kLong.end() ? found->size() : 1);
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

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<PhpToken> tokens_;
  bool braces_run_out_ = false;  // a search for a closing brace has met the end of the text
  std::vector<size_t> open_;     // indices of the brackets not closed yet
};

}  // namespace

std::vector<PhpToken> read_php_tokens(std::string_view text) {
  if (text.size() > kMaxPhpBytes) throw PhpError(fmt::format("longer than {} bytes", kMaxPhpBytes));
  return Lexer(text).read();
}

}  // namespace bailian
