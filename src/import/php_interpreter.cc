#include "import/php_interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

#include "base/text.h"
#include "import/php_lexer.h"

namespace bailian {
namespace {

using Kind = PhpValue::Kind;
using TokenKind = PhpToken::Kind;

constexpr size_t kMaxWeight = size_t{1} << 20;
// What all values made while a file is followed may weigh together: assignments may double a value each time.
constexpr size_t kMaxWork = size_t{16} << 20;

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

PhpValue unknown(int line, std::string why) {
  PhpValue value;
  value.line = line;
  value.weight = 1 + why.size();
  value.text = std::move(why);
  return value;
}
PhpValue string_value(int line, std::string text) {
  PhpValue value;
  value.kind = Kind::kString;
  value.line = line;
  value.weight = 1 + text.size();
  value.text = std::move(text);
  return value;
}
PhpValue number_value(int line, double number) {
  PhpValue value;
  value.kind = Kind::kNumber;
  value.line = line;
  value.number = number;
  value.text = fmt::format("{}", number);
  return value;
}
PhpValue bool_value(int line, bool truth) {
  PhpValue value;
  value.kind = Kind::kBool;
  value.line = line;
  value.truth = truth;
  return value;
}

// As PHP turns a value into text; false when it is no text.
bool append_text(std::string& to, const PhpValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return true;
    case Kind::kBool:
      to += value.truth ? "1" : "";
      return true;
    case Kind::kNumber:
    case Kind::kString:
      to += value.text;
      return true;
    case Kind::kUnknown:
    case Kind::kConstant:
    case Kind::kArray:
      break;
  }
  return false;
}

double parse_php_number(std::string_view text) {
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != '_'; });
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of("01234567") == std::string::npos)
    base = 8;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == 'x') base = 16;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == 'b') base = 2;
  const char* const end = digits.data() + digits.size();
  if (base == 10) {
    double number = 0;
    std::from_chars(digits.data(), end, number);
    return number;
  }
  uint64_t number = 0;
  std::from_chars(digits.data() + (base == 8 ? 1 : 2), end, number, base);
  return static_cast<double>(number);
}

// What an assignment writes to: `$name`, or a member of the array in it.
struct Place {
  std::string name;               // empty: nothing that can be followed
  std::vector<std::string> keys;  // empty: a further item; kNoKey: a key that is not known
  int line = 0;
};
const std::string kNoKey(1, '\0');

class Follower {
 public:
  Follower(std::string_view text, PhpListener& listener)
      : tokens_(read_php_tokens(text)), listener_(listener), scopes_(1) {}

  void follow() { statements(tokens_.size() - 1); }

 private:
  // --- tokens ---

  [[nodiscard]] const PhpToken& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const PhpToken& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool take(std::string_view sign) {
    if (!peek().is(sign)) return false;
    next();
    return true;
  }
  [[nodiscard]] bool is_word(size_t ahead, std::string_view word) const {
    return peek(ahead).kind == TokenKind::kWord && to_lower(peek(ahead).text) == word;
  }

  // Guards against deep recursion where no bracket counts it.
  class Deeper {
   public:
    explicit Deeper(Follower& follower, int line) : depth_(follower.depth_) {
      if (++depth_ > 3 * kMaxPhpDepth) {
        --depth_;
        throw PhpError(fmt::format("line {}: an expression nested too deep", line));
      }
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    size_t& depth_;
  };

  void spend(size_t weight) {
    work_ += weight;
    if (work_ > kMaxWork) throw PhpError("too much to follow");
  }

  // --- values with names ---

  using Scope = std::map<std::string, PhpValue, std::less<>>;

  [[nodiscard]] const PhpValue* find_variable(std::string_view name) const {
    // A property is declared as a variable of its class. Globals and what a closure uses come by their names.
    const size_t arrow = name.find("->");
    if (arrow != std::string_view::npos) name.remove_prefix(arrow + 2);
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  PhpValue copy(const PhpValue& value) {
    spend(value.weight);
    return value;
  }

  PhpValue read(const Place& place) {
    const PhpValue* value = find_variable(place.name);
    for (const std::string& key : place.keys) {
      if (value == nullptr || !value->is_known()) break;
      spend(value->members.size());
      value = value->find(key);
    }
    if (value == nullptr) return unknown(place.line, fmt::format("${} is not set in this file", place.name));
    return copy(*value);
  }

  void assign(const Place& place, const PhpValue& value) {
    if (place.name.empty()) return told("", value);
    // A property may be set in one method and used in another.
    const size_t arrow = place.name.find("->");
    Scope& scope = arrow == std::string::npos ? scopes_.back() : scopes_.front();
    PhpValue& root = scope[arrow == std::string::npos ? place.name : place.name.substr(arrow + 2)];
    if (place.keys.empty()) {
      root = copy(value);
    } else {
      put(root, place, 0, value);
    }
    told(place.keys.empty() ? place.name : place.keys.back(), value);
  }

  void put(PhpValue& into, const Place& place, size_t level, const PhpValue& value) {
    if (level == place.keys.size()) {
      into = copy(value);
      return;
    }
    if (!into.is_array()) {
      into = PhpValue();
      into.kind = Kind::kArray;
      into.line = place.line;
    }
    const std::string& key = place.keys[level];
    PhpMember* member = nullptr;
    if (!key.empty() && key != kNoKey) {
      for (PhpMember& one : into.members) {
        if (one.key == key) member = &one;
      }
      spend(into.members.size());
    }
    if (member == nullptr) {
      into.members.push_back({key == kNoKey ? std::string() : key, PhpValue()});
      into.weight += 1 + key.size();
      member = &into.members.back();
    }
    into.weight -= member->value.weight;
    put(member->value, place, level + 1, value);
    into.weight += member->value.weight;
    into.depth = std::max(into.depth, member->value.depth + 1);
    limit(into);
  }

  static void limit(PhpValue& value) {
    if (value.weight > kMaxWeight || value.depth > kMaxPhpDepth) value = unknown(value.line, "too large");
  }

  // `name` may be empty: the value is known by no name.
  void told(std::string_view name, const PhpValue& value) {
    if (!name.empty() && name != kNoKey) listener_.on_named(name, value);
    told_members(value);
  }
  void told_members(const PhpValue& value) {
    if (!value.is_array()) return;
    spend(value.weight);
    listener_.on_array(value);
    for (const PhpMember& member : value.members) {
      if (!member.key.empty()) listener_.on_named(member.key, member.value);
      told_members(member.value);
    }
  }

  // --- statements ---

  void statements(size_t end) {
    while (at_ < end) {
      const size_t before = at_;
      statement();
      if (at_ == before) next();
    }
  }

  void statement() {
    if (peek().kind != TokenKind::kWord) {
      if (peek().is("{") || peek().is("}") || peek().is(";")) {
        next();
      } else {
        told_members(expression());
        // What could not be read as an expression is passed over, brackets and all.
        if (peek().is("(") || peek().is("[")) at_ = peek().partner;
      }
      return;
    }
    const std::string word = to_lower(peek().text);
    if (word == "function" || word == "fn") {
      function();
    } else if ((is_one_of(word, {"class", "interface", "trait", "enum"}) &&
                peek(1).kind == TokenKind::kWord) ||
               is_one_of(word, {"use", "namespace", "goto", "declare", "global"})) {
      while (!peek().is("{") && !peek().is(";") && peek().kind != TokenKind::kEnd) next();
    } else if (word == "const") {
      next();
      constants();
    } else if (is_one_of(word, {"return", "echo", "print", "else", "do", "try", "case", "throw", "yield"})) {
      next();
      told_members(expression());
    } else if (is_one_of(word, {"foreach", "for", "catch"}) && peek(1).is("(")) {
      next();
      at_ = peek().partner + 1;
    } else {
      told_members(expression());
    }
  }

  // A function's variables are its own; its body is followed as if it were called once.
  void function() {
    next();
    take("&");
    if (peek().kind == TokenKind::kWord) next();
    if (!peek().is("(")) return;
    at_ = peek().partner + 1;
    if (is_word(0, "use") && peek(1).is("(")) at_ = peek(1).partner + 1;
    while (!peek().is("{") && !peek().is(";") && !peek().is("=>") && peek().kind != TokenKind::kEnd) {
      if (peek().kind == TokenKind::kSign && !is_one_of(peek().text, {":", "?", "|", "&"})) return;
      next();
    }
    if (!peek().is("{")) return;
    const Deeper deeper(*this, peek().line);
    const size_t end = peek().partner;
    next();
    scopes_.emplace_back();
    statements(end);
    scopes_.pop_back();
    at_ = end + 1;
  }

  // Behind `const`: NAME = value, NAME = value
  void constants() {
    do {
      while (peek().kind == TokenKind::kWord && !peek(1).is("=")) next();  // a type
      if (peek().kind != TokenKind::kWord) return;
      const std::string name(next().text);
      next();
      define(name, expression());
    } while (take(","));
  }

  void define(const std::string& name, const PhpValue& value) {
    constants_[name] = copy(value);
    told(name, value);
  }

  // --- expressions, the loosest binding first ---

  PhpValue expression() {
    const Deeper deeper(*this, peek().line);
    PhpValue value = coalesce();
    while (peek().is("?") && !peek(1).is("->")) {
      const int line = next().line;
      if (!peek().is(":")) told_members(expression());
      take(":");
      told_members(coalesce());
      value = unknown(line, "decided when the file runs");
    }
    return value;
  }

  PhpValue coalesce() {
    PhpValue value = comparison();
    while (peek().is("??")) {
      const int line = next().line;
      told_members(comparison());
      if (!value.is_known()) value = unknown(line, value.why_unknown());
    }
    return value;
  }

  PhpValue comparison() {
    PhpValue value = concatenation();
    while ((peek().kind == TokenKind::kSign &&
            is_one_of(peek().text, {"==", "===", "!=", "!==", "<", ">", "<=", ">=", "<=>", "&&", "||", "&",
                                    "|", "^", "<<", ">>", "%", "**"})) ||
           is_word(0, "and") || is_word(0, "or") || is_word(0, "xor") || is_word(0, "instanceof")) {
      const int line = next().line;
      told_members(concatenation());
      value = unknown(line, "decided when the file runs");
    }
    return value;
  }

  PhpValue concatenation() {
    PhpValue value = sum();
    while (peek().is(".")) {
      next();
      value = concatenate(value, sum());
    }
    return value;
  }

  PhpValue concatenate(const PhpValue& left, const PhpValue& right) {
    for (const PhpValue* side : {&left, &right}) {
      if (!side->is_known()) return unknown(left.line, side->why_unknown());
    }
    spend(left.weight + right.weight);
    std::string text;
    if (!append_text(text, left) || !append_text(text, right)) return unknown(left.line, "an array as text");
    PhpValue value = string_value(left.line, std::move(text));
    limit(value);
    return value;
  }

  PhpValue sum() {
    PhpValue value = product();
    while (peek().is("+") || peek().is("-")) {
      const bool plus = next().is("+");
      const PhpValue right = product();
      value = arithmetic(value, right, plus ? value.number + right.number : value.number - right.number);
    }
    return value;
  }

  PhpValue product() {
    PhpValue value = unary();
    while (peek().is("*") || peek().is("/")) {
      const bool times = next().is("*");
      const PhpValue right = unary();
      const double quotient = right.number != 0 ? value.number / right.number : 0;
      value = arithmetic(value, right, times ? value.number * right.number : quotient);
    }
    return value;
  }

  static PhpValue arithmetic(const PhpValue& left, const PhpValue& right, double result) {
    if (left.kind != Kind::kNumber || right.kind != Kind::kNumber) {
      return unknown(left.line, "calculated when the file runs");
    }
    return number_value(left.line, result);
  }

  PhpValue unary() {
    const Deeper deeper(*this, peek().line);
    const int line = peek().line;
    if (take("@") || take("&") || take("...") || take("+")) return unary();
    if (take("!") || take("~") || take("++") || take("--")) {
      unary();
      return unknown(line, "decided when the file runs");
    }
    if (take("-")) {
      const PhpValue value = unary();
      return value.kind == Kind::kNumber ? number_value(line, -value.number) : unknown(line, "a calculation");
    }
    // A cast.
    if (peek().is("(") && peek(1).kind == TokenKind::kWord && peek(2).is(")") &&
        is_one_of(to_lower(peek(1).text),
                  {"int", "integer", "float", "double", "string", "bool", "boolean", "array", "object"})) {
      at_ += 3;
      return unary();
    }
    if (is_word(0, "new") || is_word(0, "clone") || is_word(0, "print") || is_word(0, "include") ||
        is_word(0, "include_once") || is_word(0, "require") || is_word(0, "require_once")) {
      const bool object = is_word(0, "new");
      next();
      const PhpValue value = unary();
      return object ? value : unknown(line, "known when the file runs");
    }
    return postfix();
  }

  PhpValue postfix() {
    const PhpToken& token = peek();
    switch (token.kind) {
      case TokenKind::kVariable:
        return variable();
      case TokenKind::kWord:
        return with_members(word());
      case TokenKind::kNumber:
        next();
        return number_value(token.line, parse_php_number(token.text));
      case TokenKind::kString:
        next();
        return with_members(string(token));
      case TokenKind::kSign:
        break;
      case TokenKind::kEnd:
        return unknown(token.line, "nothing");
    }
    if (token.is("[")) return with_members(array());
    if (token.is("(")) {
      const size_t end = token.partner;
      next();
      PhpValue value = expression();
      at_ = end + 1;
      return with_members(std::move(value));
    }
    return unknown(token.line, "not understood");
  }

  // What follows a value that has no name: ['key'], ->member, ::member, (arguments).
  PhpValue with_members(PhpValue value) {
    std::string method;
    while (true) {
      if (peek().is("[") || peek().is("(")) {
        const size_t end = peek().partner;
        const bool calls = peek().is("(");
        next();
        const std::vector<PhpValue> values = arguments(end);
        value =
            calls ? call(std::exchange(method, {}), values, value.line)
                  : unknown(value.line, value.is_known() ? "known when the file runs" : value.why_unknown());
      } else if (peek().is("->") || peek().is("?->") || peek().is("::")) {
        next();
        if (peek().kind == TokenKind::kWord) method = to_lower(peek().text);
        if (peek().kind == TokenKind::kWord || peek().kind == TokenKind::kVariable) next();
        value = unknown(value.line, "known when the file runs");
      } else {
        return value;
      }
    }
  }

  // $name, with what follows it, and the assignment to it.
  PhpValue variable() {
    Place place;
    place.line = peek().line;
    place.name = std::string(next().text);
    while (true) {
      if (peek().is("[")) {
        const size_t end = peek().partner;
        next();
        const bool further_item = at_ == end;
        const PhpValue key = further_item ? PhpValue() : expression();
        std::string text;
        if (!further_item && (!append_text(text, key) || text.empty())) text = kNoKey;
        place.keys.push_back(std::move(text));
        if (place.keys.size() > kMaxPhpDepth) {
          throw PhpError(fmt::format("line {}: nested deeper than {}", place.line, kMaxPhpDepth));
        }
        at_ = end + 1;
      } else if ((peek().is("->") || peek().is("?->")) && peek(1).kind == TokenKind::kWord &&
                 !peek(2).is("(") && place.keys.empty()) {
        next();
        place.name += "->" + std::string(next().text);
      } else if (peek().is("->") || peek().is("?->") || peek().is("::") || peek().is("(")) {
        return with_members(unknown(place.line, "known when the file runs"));
      } else {
        break;
      }
    }
    return assignment(place);
  }

  PhpValue assignment(const Place& place) {
    if (peek().is("=")) {
      next();
      PhpValue value = expression();
      assign(place, value);
      return value;
    }
    if (peek().is(".=")) {
      next();
      PhpValue value = concatenate(read(place), expression());
      assign(place, value);
      return value;
    }
    if (peek().is("?\?=")) {
      next();
      PhpValue value = expression();
      assign(place, value);
      return value;
    }
    if (peek().kind == TokenKind::kSign &&
        is_one_of(peek().text, {"+=", "-=", "*=", "/=", "%=", "**=", "<<=", "++", "--"})) {
      next();
      if (!peek().is(";") && !peek().is(")")) expression();
      PhpValue value = unknown(place.line, "calculated when the file runs");
      assign(place, value);
      return value;
    }
    return read(place);
  }

  PhpValue string(const PhpToken& token) {
    std::string text;
    for (const PhpStringPart& part : token.parts) {
      if (!part.is_variable) {
        text += part.text;
        continue;
      }
      if (part.text.empty()) return unknown(token.line, "put together when the file runs");
      const PhpValue* value = find_variable(part.text);
      if (value == nullptr) {
        return unknown(token.line,
                       fmt::format("put together with ${}, which is not set in this file", part.text));
      }
      spend(value->weight);
      if (!append_text(text, *value)) {
        return unknown(token.line, fmt::format("put together with ${}, which is not known", part.text));
      }
      if (text.size() > kMaxWeight) return unknown(token.line, "too large");
    }
    spend(text.size());
    return string_value(token.line, std::move(text));
  }

  // [ ... ] or ( ... ) behind array
  PhpValue array() {
    PhpValue value;
    value.kind = Kind::kArray;
    value.line = peek().line;
    const size_t end = peek().partner;
    next();
    while (at_ < end) {
      const size_t before = at_;
      PhpMember member;
      member.value = expression();
      if (take("=>")) {
        if (member.value.kind == Kind::kConstant) {
          member.key = member.value.text;
        } else if (!append_text(member.key, member.value)) {
          member.key.clear();
        }
        member.value = expression();
      }
      value.weight += 1 + member.key.size() + member.value.weight;
      value.depth = std::max(value.depth, member.value.depth + 1);
      spend(1 + member.key.size());
      value.members.push_back(std::move(member));
      // What is not understood spoils its own member only.
      while (at_ < end && !peek().is(",")) skip_one();
      take(",");
      if (at_ == before) next();
    }
    at_ = end + 1;
    limit(value);
    return value;
  }

  void skip_one() {
    const bool opens = peek().is("(") || peek().is("[") || peek().is("{");
    at_ = opens ? peek().partner + 1 : at_ + 1;
  }

  std::vector<PhpValue> arguments(size_t end) {
    std::vector<PhpValue> values;
    while (at_ < end) {
      const size_t before = at_;
      if (peek().kind == TokenKind::kWord && peek(1).is(":")) at_ += 2;  // a named argument
      values.push_back(expression());
      while (at_ < end && !peek().is(",")) skip_one();
      take(",");
      if (at_ == before) next();
    }
    at_ = end + 1;
    return values;
  }

  PhpValue word() {
    const PhpToken& token = peek();
    std::string name = to_lower(token.text);
    if (name == "function" || name == "fn" ||
        (name == "static" && (is_word(1, "function") || is_word(1, "fn")))) {
      if (name == "static") next();
      function();
      return unknown(token.line, "a function");
    }
    next();
    if (name == "array" && peek().is("(")) return array();
    if (name.starts_with('\\')) name.erase(0, 1);
    if (peek().is("(")) {
      const size_t end = peek().partner;
      next();
      const std::vector<PhpValue> values = arguments(end);
      return call(name, values, token.line);
    }
    if (peek().is("::")) return class_member(token);
    if (name == "true" || name == "false") return bool_value(token.line, name == "true");
    if (name == "null") {
      PhpValue value;
      value.kind = Kind::kNull;
      value.line = token.line;
      return value;
    }
    if (name == "php_eol") return string_value(token.line, "\n");
    const auto found = constants_.find(token.text);
    if (found != constants_.end()) return copy(found->second);
    PhpValue value = string_value(token.line, std::string(token.text));
    value.kind = Kind::kConstant;
    return value;
  }

  // Class::NAME, Class::$name, Class::function(...)
  PhpValue class_member(const PhpToken& token) {
    next();
    if (peek().kind == TokenKind::kVariable) {
      Place place;
      place.line = token.line;
      place.name = "self->" + std::string(next().text);
      return assignment(place);
    }
    if (peek().kind == TokenKind::kWord && !peek(1).is("(")) {
      const auto found = constants_.find(next().text);
      if (found != constants_.end()) return copy(found->second);
    } else if (peek().kind == TokenKind::kWord) {
      const std::string name = to_lower(next().text);
      const size_t end = peek().partner;
      next();
      return call(name, arguments(end), token.line);
    }
    return unknown(token.line, "known when the file runs");
  }

  PhpValue call(const std::string& name, const std::vector<PhpValue>& values, int line) {
    listener_.on_call(name, values, line);
    for (const PhpValue& value : values) told_members(value);
    if (name == "define" && values.size() >= 2 && values[0].is_string()) {
      define(values[0].text, values[1]);
      return values[1];
    }
    if (name == "get_option" && !values.empty() && values[0].is_string()) {
      return unknown(line, fmt::format("in WordPress's database, get_option('{}')", values[0].text));
    }
    if (name == "getenv" && !values.empty() && values[0].is_string()) {
      return unknown(line, fmt::format("in the environment variable {}", values[0].text));
    }
    if (name == "apply_filters" && values.size() >= 2) return copy(values[1]);
    if (!values.empty() &&
        is_one_of(name, {"json_encode", "wp_json_encode", "__", "_e", "esc_html__", "esc_attr__", "esc_html",
                         "esc_attr", "esc_url", "esc_url_raw", "sanitize_text_field", "trim", "intval",
                         "floatval", "strval", "wp_rest_response", "rest_ensure_response"})) {
      return copy(values[0]);
    }
    return unknown(line, fmt::format("the result of {}()", name));
  }

  std::vector<PhpToken> tokens_;
  PhpListener& listener_;
  size_t at_ = 0;
  size_t depth_ = 0;
  size_t work_ = 0;
  std::vector<Scope> scopes_;  // the file's, then those of functions within functions
  Scope constants_;
};

}  // namespace

std::string PhpValue::why_unknown() const {
  if (kind == Kind::kConstant) return fmt::format("the constant {}, which is not set in this file", text);
  return kind == Kind::kUnknown ? text : std::string();
}

const PhpValue* PhpValue::find(std::string_view key) const {
  const auto found = std::find_if(members.rbegin(), members.rend(),
                                  [&](const PhpMember& member) { return member.key == key; });
  return found != members.rend() ? &found->value : nullptr;
}

void follow_php(std::string_view text, PhpListener& listener) { Follower(text, listener).follow(); }

}  // namespace bailian
