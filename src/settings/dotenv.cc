#include "settings/dotenv.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace bailian {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_space(char c) { return is_blank(c) || c == '\n' || c == '\v' || c == '\f'; }
bool is_key_char(char c) { return c != '=' && c != '#' && !is_space(c); }

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(without_bom(text)) {}

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
  void fault(int line, std::string reason) { result_.faults.push_back({line, std::move(reason)}); }

  std::string read_word() {
    const size_t start = at_;
    while (!at_end() && is_key_char(peek())) next();
    return std::string(text_.substr(start, at_ - start));
  }

  void read_line() {
    skip_blanks();
    if (peek() == '#' || peek() == '\n') return;
    DotenvEntry entry;
    entry.line = line_;
    entry.key = read_word();
    if (entry.key == "export" && is_blank(peek())) {
      skip_blanks();
      // `export` alone, or a variable of this name.
      if (peek() != '=' && peek() != '#' && peek() != '\n') entry.key = read_word();
    }
    skip_blanks();
    const bool is_name_alone = peek() == '#' || peek() == '\n';
    if (entry.key.empty() || (peek() != '=' && !is_name_alone)) {
      return fault(entry.line, "the line is not of the form KEY=value");
    }
    if (peek() == '=') {
      next();
      skip_blanks();
      if (!read_value(entry)) return;
    }
    result_.entries.push_back(std::move(entry));
  }

  // False when the line is faulty.
  bool read_value(DotenvEntry& entry) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') {
      entry.value = read_bare();
      return true;
    }
    next();
    std::string& value = entry.value.emplace();
    while (!at_end() && peek() != quote) {
      char c = next();
      if (c == '\\' && !at_end()) c = read_escape(quote, value);
      value += c;
    }
    if (at_end()) {
      fault(entry.line, fmt::format("the quote ({}) is not closed", quote));
      return false;
    }
    next();
    skip_blanks();
    if (peek() != '#' && peek() != '\n') {
      fault(entry.line, "there is text after the closing quote");
      return false;
    }
    entry.is_literal = quote == '\'';
    return true;
  }

  // An unknown escape stays as it is written.
  char read_escape(char quote, std::string& value) {
    constexpr std::string_view kEscapes = "abfnrtv\"'\\";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\"'\\";
    const char c = next();
    const size_t escape = (quote == '"' ? kEscapes : "'\\").find(c);
    if (escape != std::string_view::npos) return quote == '"' ? kMeanings[escape] : c;
    value += '\\';
    return c;
  }

  // A comment starts at a '#' with white space before it.
  std::string read_bare() {
    const size_t start = at_;
    while (peek() != '\n' && !(peek() == '#' && (at_ == start || is_blank(text_[at_ - 1])))) next();
    return std::string(trim(text_.substr(start, at_ - start), " \t\r"));
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  Dotenv result_;
};

}  // namespace

Dotenv parse_dotenv(std::string_view text) { return Reader(text).read(); }

std::optional<std::string> expand_variables(
    std::string_view text, const std::function<std::optional<std::string>(const std::string&)>& find,
    std::vector<std::string>& missing) {
  std::string expanded;
  for (size_t start = text.find("${"); start != std::string_view::npos; start = text.find("${")) {
    const size_t end = text.find('}', start);
    if (end == std::string_view::npos) break;
    const std::string_view inside = text.substr(start + 2, end - start - 2);
    const size_t colon = inside.find(':');
    const std::string name(inside.substr(0, colon));
    const bool has_otherwise = colon != std::string_view::npos;
    if (has_otherwise && !inside.substr(colon).starts_with(":-")) {
      expanded += text.substr(0, start + 2);  // no variable
      text.remove_prefix(start + 2);
      continue;
    }
    expanded += text.substr(0, start);
    if (const auto value = find(name)) {
      expanded += *value;
    } else if (has_otherwise) {
      expanded += inside.substr(colon + 2);
    } else {
      missing.push_back(name);
    }
    if (expanded.size() > kMaxExpandedBytes) return std::nullopt;
    text.remove_prefix(end + 1);
  }
  return expanded.append(text);
}

std::string dotenv_line(std::string_view key, std::string_view value) {
  std::string line(key);
  // Text in single quotes is not expanded.
  const bool is_literal = value.find("${") != std::string_view::npos;
  if (!is_literal && value.find_first_of("\n\r\t'\"\\#$ ") == std::string_view::npos) {
    return line.append("=").append(value).append("\n");
  }
  const char quote = is_literal ? '\'' : '"';
  line.append("=") += quote;
  for (const char c : value) {
    const bool is_named = !is_literal && (c == '\n' || c == '\t');
    if (c == quote || c == '\\' || is_named) line += '\\';
    line += is_named ? (c == '\n' ? 'n' : 't') : c;
  }
  return (line += quote) += '\n';
}

}  // namespace bailian
