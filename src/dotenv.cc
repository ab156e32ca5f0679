#include "dotenv.h"

#include <algorithm>
#include <optional>

namespace bailian {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_key_char(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
  }

  Dotenv read() {
    while (!at_end()) {
      read_line();
      skip_line();
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\n' : text_[at_]; }

  char next() {
    const char c = text_[at_++];
    if (c == '\n') ++line_;
    return c;
  }
  void skip_blanks() {
    while (!at_end() && is_blank(peek())) next();
  }
  void skip_line() {
    while (!at_end() && next() != '\n') {
    }
  }
  void fault(int line, std::string expected) { result_.faults.push_back({line, std::move(expected)}); }

  std::string read_word() {
    const size_t start = at_;
    while (!at_end() && is_key_char(peek())) next();
    return std::string(text_.substr(start, at_ - start));
  }

  void read_line() {
    skip_blanks();
    if (peek() == '#' || peek() == '\n') return;
    const int line = line_;
    std::string key = read_word();
    if (key == "export" && is_blank(peek())) {
      skip_blanks();
      key = read_word();
    }
    skip_blanks();
    if (key.empty() || peek() != '=') return fault(line, "expected KEY=value");
    next();
    skip_blanks();
    if (auto value = read_value(line)) result_.entries.push_back({std::move(key), std::move(*value), line});
  }

  std::optional<std::string> read_value(int line) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return read_bare();
    next();
    std::string value;
    while (!at_end() && peek() != quote) {
      char c = next();
      if (c == '\\' && quote == '"' && !at_end()) c = read_escape(value);
      value += c;
    }
    if (at_end()) {
      fault(line, "expected a closing quote");
      return std::nullopt;
    }
    next();
    skip_blanks();
    if (peek() != '#' && peek() != '\n') {
      fault(line, "expected nothing but a comment behind the closing quote");
      return std::nullopt;
    }
    return value;
  }

  // An escape that means nothing stays as it is written.
  char read_escape(std::string& value) {
    const char c = next();
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case '"':
      case '\\':
        return c;
      default:
        value += '\\';
        return c;
    }
  }

  // A comment starts at a '#' with white space before it.
  std::string read_bare() {
    const size_t start = at_;
    while (peek() != '\n' && !(peek() == '#' && (at_ == start || is_blank(text_[at_ - 1])))) next();
    std::string_view value = text_.substr(start, at_ - start);
    while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
    return std::string(value);
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  Dotenv result_;
};

}  // namespace

Dotenv parse_dotenv(std::string_view text) { return Reader(text).read(); }

std::string dotenv_line(std::string_view key, std::string_view value) {
  const bool is_bare = value.find_first_of("\n\r\t'\"\\#$ ") == std::string_view::npos;
  std::string line(key);
  line += is_bare ? "=" : "=\"";
  for (const char c : value) {
    if (c == '"' || c == '\\' || c == '\n' || c == '\t') line += '\\';
    line += c == '\n' ? 'n' : c == '\t' ? 't' : c;
  }
  return line += is_bare ? "\n" : "\"\n";
}

}  // namespace bailian
