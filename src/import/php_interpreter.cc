#include "import/php_interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <map>
#include <utility>

#include "base/text.h"
#include "import/php_lexer.h"

namespace bailian {
namespace {

using Kind = PhpValue::Kind;
using TokenKind = PhpToken::Kind;

constexpr size_t kMaxValueBytes = size_t{1} << 20;
// How many bytes may be copied while a file is followed: each assignment may double a value.
constexpr size_t kMaxCopiedBytes = size_t{16} << 20;
constexpr size_t kMaxRecursion = 3 * kMaxPhpDepth;

constexpr const char* kWhenRun = "known when the file runs";
constexpr const char* kDecided = "decided when the file runs";
constexpr const char* kCalculated = "calculated when the file runs";

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

PhpValue make(Kind kind, int line, std::string text = {}) {
  PhpValue value;
  value.kind = kind;
  value.line = line;
  value.text = std::move(text);
  return value;
}
PhpValue unknown(int line, std::string why) { return make(Kind::kUnknown, line, std::move(why)); }
PhpValue number_value(int line, double number) {
  PhpValue value = make(Kind::kNumber, line, fmt::format("{}", number));
  value.number = number;
  return value;
}

// As PHP converts a value to text; false when it has none.
bool append_text(std::string& to, const PhpValue& value) {
  if (!value.is_known() || value.is_array()) return false;
  if (value.kind != Kind::kBool) {
    to += value.text;
  } else if (value.truth) {
    to += '1';
  }
  return true;
}

// Decimal, octal or hexadecimal.
PhpValue parse_number(const PhpToken& token) {
  std::string digits(token.text);
  std::erase(digits, '_');
  const bool is_decimal = !digits.starts_with('0') || digits.size() == 1 || digits[1] == '.';
  char* end = nullptr;
  const double number = is_decimal ? std::strtod(digits.c_str(), &end)
                                   : static_cast<double>(std::strtoull(digits.c_str(), &end, 0));
  return *end == '\0' ? number_value(token.line, number) : unknown(token.line, "an unusual number");
}

struct Size {
  size_t bytes;
  size_t depth;  // of arrays within arrays
};
Size size_of(const PhpValue& value) {
  Size size{1 + value.text.size(), 0};
  for (const PhpMember& member : value.members) {
    const Size inner = size_of(member.value);
    size.bytes += 1 + member.key.size() + inner.bytes;
    size.depth = std::max(size.depth, inner.depth);
  }
  ++size.depth;
  return size;
}

/// The target of an assignment: a variable or a property, or a member of the array in it.
struct Target {
  std::string name;
  bool is_property = false;
  std::vector<std::string> keys;  // empty: a new item; kNoKey: a key that is not known
  int line = 0;
};
const std::string kNoKey(1, '\0');

// The precedence of an operator, from 0; -1 when the token is not an operator.
constexpr int kUnaryLevel = 5;
int level_of(const PhpToken& token) {
  if (token.kind == TokenKind::kWord)
    return is_one_of(to_lower(token.text), {"and", "or", "xor", "instanceof"}) ? 1 : -1;
  if (token.kind != TokenKind::kPunctuation) return -1;
  if (token.text == "??") return 0;
  if (is_one_of(token.text, {"==", "===", "!=", "!==", "<", ">", "<=", ">=", "<=>", "&&", "||", "&", "|", "^",
                             "<<", ">>", "%", "**"}))
    return 1;
  if (token.text == ".") return 2;
  if (token.text == "+" || token.text == "-") return 3;
  return token.text == "*" || token.text == "/" ? 4 : -1;
}

class Interpreter {
 public:
  Interpreter(std::string_view text, PhpListener& listener)
      : tokens_(read_php_tokens(text)), listener_(listener), scopes_(1) {}

  void run() {
    statements(tokens_.size() - 1);
    assert(scopes_.size() == 1 && depth_ == 0);
  }

 private:
  // --- tokens ---

  [[nodiscard]] const PhpToken& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const PhpToken& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool take(std::string_view punctuation) {
    if (!peek().is(punctuation)) return false;
    next();
    return true;
  }
  [[nodiscard]] bool is_word(size_t ahead = 0) const { return peek(ahead).kind == TokenKind::kWord; }
  [[nodiscard]] bool is_word_of(size_t ahead, std::initializer_list<std::string_view> words) const {
    return is_word(ahead) && is_one_of(to_lower(peek(ahead).text), words);
  }
  [[nodiscard]] bool is_bracket() const { return peek().is("(") || peek().is("[") || peek().is("{"); }
  void skip_one() { at_ = is_bracket() ? peek().partner + 1 : at_ + 1; }

  // --- limits ---

  void descend() {
    if (++depth_ > kMaxRecursion)
      throw PhpError(fmt::format("line {}: an expression nested too deep", peek().line));
  }
  void spend(size_t bytes) {
    copied_bytes_ += bytes;
    if (copied_bytes_ > kMaxCopiedBytes) throw PhpError("too much to follow");
  }
  PhpValue copy(const PhpValue& value) {
    const Size size = size_of(value);
    spend(size.bytes);
    const bool is_too_large = size.bytes > kMaxValueBytes || size.depth > kMaxPhpDepth;
    return is_too_large ? unknown(value.line, "too large") : value;
  }

  // --- values with names ---

  using Scope = std::map<std::string, PhpValue, std::less<>>;

  [[nodiscard]] const PhpValue* find_variable(std::string_view name) const {
    // A property is declared like a variable, without `->`. Globals and captured variables are found by name.
    const size_t arrow = name.rfind("->");
    if (arrow != std::string_view::npos) name.remove_prefix(arrow + 2);
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  PhpValue read(const Target& target) {
    const PhpValue* value = find_variable(target.name);
    for (const std::string& key : target.keys) {
      if (value == nullptr || !value->is_known()) break;
      spend(value->members.size());
      value = value->find(key);
    }
    if (value != nullptr) return copy(*value);
    return unknown(target.line, fmt::format("${} is not set in this file", target.name));
  }

  void assign(const Target& target, const PhpValue& value) {
    // A property may be set in one method and used in another.
    PhpValue* into = &(target.is_property ? scopes_.front() : scopes_.back())[target.name];
    for (const std::string& key : target.keys) {
      if (!into->is_array()) *into = make(Kind::kArray, target.line);
      into = &member_of(*into, key);
    }
    *into = copy(value);
    report(target.keys.empty() ? target.name : target.keys.back(), value);
  }

  // The member with this key; a new one for an item without a key, or when the key is unknown.
  PhpValue& member_of(PhpValue& array, const std::string& key) {
    if (!key.empty() && key != kNoKey) {
      spend(array.members.size());
      for (PhpMember& member : array.members) {
        if (member.key == key) return member.value;
      }
    }
    array.members.push_back({key == kNoKey ? std::string() : key, PhpValue()});
    return array.members.back().value;
  }

  void report(std::string_view name, const PhpValue& value) {
    if (!name.empty() && name != kNoKey) listener_.on_named(name, value);
    report_members(value);
  }
  void report_members(const PhpValue& value) {
    if (!value.is_array()) return;
    spend(value.members.size());
    listener_.on_array(value);
    for (const PhpMember& member : value.members) report(member.key, member.value);
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
    if (peek().is("{") || peek().is("}") || peek().is(";")) {
      next();
    } else if (is_word_of(0, {"function", "fn"})) {
      function();
    } else if (is_word_of(0, {"const"})) {
      constants();
    } else {
      if (is_word_of(0, {"return", "echo", "else", "do", "try", "case", "throw", "yield"})) next();
      report_members(expression());
      // Skips text that could not be read as an expression, including its brackets.
      if (peek().is("(") || peek().is("[")) at_ = peek().partner;
    }
  }

  // A function's variables are its own; its body is followed as if it were called once.
  void function() {
    next();
    take("&");
    if (is_word()) next();
    if (!peek().is("(")) return;
    at_ = peek().partner + 1;
    if (is_word_of(0, {"use"}) && peek(1).is("(")) at_ = peek(1).partner + 1;
    while (is_word() || peek().is(":") || peek().is("?") || peek().is("|") || peek().is("&")) next();
    if (!peek().is("{")) return;
    descend();
    const size_t end = next().partner;
    scopes_.emplace_back();
    statements(end);
    assert(scopes_.size() > 1);
    scopes_.pop_back();
    at_ = end + 1;
    --depth_;
  }

  // const TYPE NAME = value, NAME = value
  void constants() {
    do {
      next();
      while (is_word() && !peek(1).is("=")) next();
      if (!is_word()) return;
      const std::string name(next().text);
      next();
      define(name, expression());
    } while (peek().is(","));
  }

  void define(const std::string& name, const PhpValue& value) {
    constants_[name] = copy(value);
    report(name, value);
  }

  // --- expressions ---

  PhpValue expression() {
    descend();
    PhpValue value = operation(0);
    while (take("?")) {
      if (!peek().is(":")) report_members(expression());
      take(":");
      report_members(operation(0));
      value = unknown(value.line, kDecided);
    }
    --depth_;
    return value;
  }

  PhpValue operation(int level) {
    if (level == kUnaryLevel) return unary();
    PhpValue value = operation(level + 1);
    while (level_of(peek()) == level) {
      const PhpToken& sign = next();
      value = combine(sign, value, operation(level + 1));
    }
    return value;
  }

  PhpValue combine(const PhpToken& sign, const PhpValue& left, const PhpValue& right) {
    if (sign.is(".")) return concatenate(left, right);
    report_members(right);
    if (sign.is("??")) return left.is_known() ? left : unknown(left.line, left.why_unknown());
    if (level_of(sign) == 1) return unknown(left.line, kDecided);
    if (!left.is_number() || !right.is_number()) return unknown(left.line, kCalculated);
    if (sign.is("+")) return number_value(left.line, left.number + right.number);
    if (sign.is("-")) return number_value(left.line, left.number - right.number);
    if (sign.is("*")) return number_value(left.line, left.number * right.number);
    return number_value(left.line, right.number != 0 ? left.number / right.number : 0);
  }

  PhpValue concatenate(const PhpValue& left, const PhpValue& right) {
    std::string text;
    for (const PhpValue* side : {&left, &right}) {
      if (!side->is_known()) return unknown(left.line, side->why_unknown());
      if (!append_text(text, *side)) return unknown(left.line, "an array as text");
    }
    spend(text.size());
    if (text.size() > kMaxValueBytes) return unknown(left.line, "too large");
    return make(Kind::kString, left.line, std::move(text));
  }

  PhpValue unary() {
    descend();
    PhpValue value = prefixed();
    --depth_;
    return value;
  }

  PhpValue prefixed() {
    const int line = peek().line;
    if (take("@") || take("&") || take("...") || take("+")) return unary();
    if (take("!") || take("~") || take("++") || take("--")) {
      unary();
      return unknown(line, kDecided);
    }
    if (take("-")) {
      const PhpValue value = unary();
      return value.is_number() ? number_value(line, -value.number) : unknown(line, kCalculated);
    }
    if (peek().is("(") && peek(2).is(")") &&
        is_word_of(1,
                   {"int", "integer", "float", "double", "string", "bool", "boolean", "array", "object"})) {
      at_ += 3;
      return unary();
    }
    if (is_word_of(0, {"new"})) {
      next();
      return unary();
    }
    if (is_word_of(0, {"clone", "print", "include", "include_once", "require", "require_once"})) {
      next();
      unary();
      return unknown(line, kWhenRun);
    }
    return primary();
  }

  PhpValue primary() {
    const PhpToken& token = peek();
    Target target{{}, false, {}, token.line};
    if (token.kind == TokenKind::kVariable) {
      target.name = next().text;
      return with_members(std::move(target), {});
    }
    if (is_word()) return word();
    if (token.is("[")) return with_members(std::move(target), array());
    if (token.is("(")) {
      next();
      PhpValue value = expression();
      at_ = token.partner + 1;
      return with_members(std::move(target), std::move(value));
    }
    if (token.kind == TokenKind::kNumber) return parse_number(next());
    if (token.kind == TokenKind::kString) return with_members(std::move(target), string(next()));
    return unknown(token.line, "not understood");
  }

  // What follows a value: ['key'], ->member, ::member, (arguments), and an assignment. A value that can be
  // assigned to has a target with a name, any other a target without one. `function` is the name of the
  // function that a "(" calls.
  PhpValue with_members(Target target, PhpValue value, std::string function = {}) {
    while (true) {
      if (peek().is("(")) {
        value = call(std::exchange(function, {}), target.line);
        target.name.clear();
      } else if (peek().is("[")) {
        target.keys.push_back(key());
        if (target.keys.size() > kMaxPhpDepth)
          throw PhpError(fmt::format("line {}: nested deeper than {}", target.line, kMaxPhpDepth));
        value = unknown(target.line, value.is_known() ? kWhenRun : value.why_unknown());
      } else if (peek().is("->") || peek().is("?->") || peek().is("::")) {
        const bool is_static = next().is("::");
        const bool has_target = is_static ? !is_word() : !target.name.empty() && target.keys.empty();
        const auto found = is_static && is_word() ? constants_.find(peek().text) : constants_.end();
        value = found != constants_.end() ? copy(found->second) : unknown(target.line, kWhenRun);
        function = is_word() && peek(1).is("(") ? to_lower(peek().text) : "";
        const bool is_named = is_word() || peek().kind == TokenKind::kVariable;
        target = {is_named && has_target && function.empty() ? std::string(peek().text) : "",
                  true,
                  {},
                  target.line};
        if (is_named) next();
      } else {
        return target.name.empty() ? value : assignment(target);
      }
    }
  }

  // Between the brackets of $name[...].
  std::string key() {
    const size_t end = next().partner;
    std::string text;
    if (at_ != end && (!append_text(text, expression()) || text.empty())) text = kNoKey;
    at_ = end + 1;
    return text;
  }

  PhpValue assignment(const Target& target) {
    PhpValue value;
    if (take("=") || take("?\?=")) {
      value = expression();
    } else if (take(".=")) {
      value = concatenate(read(target), expression());
    } else if (peek().kind == TokenKind::kPunctuation &&
               is_one_of(peek().text, {"+=", "-=", "*=", "/=", "%=", "**=", "<<=", "++", "--"})) {
      next();
      if (!peek().is(";") && !peek().is(")")) expression();
      value = unknown(target.line, kCalculated);
    } else {
      return read(target);
    }
    assign(target, value);
    return value;
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
      if (value == nullptr || !append_text(text, *value)) {
        return unknown(token.line, fmt::format("put together with ${}, which is {}", part.text,
                                               value == nullptr ? "not set in this file" : "not known"));
      }
      spend(value->text.size());
      if (text.size() > kMaxValueBytes) return unknown(token.line, "too large");
    }
    spend(text.size());
    return make(Kind::kString, token.line, std::move(text));
  }

  // Reads the items between the brackets that follow. Code that is not understood affects only its own item.
  template <typename Item>
  void items(const Item& item) {
    assert(is_bracket());
    const size_t end = next().partner;
    while (at_ < end) {
      const size_t before = at_;
      item();
      while (at_ < end && !peek().is(",")) skip_one();
      take(",");
      if (at_ == before) next();
    }
    at_ = end + 1;
  }

  // [ ... ], or ( ... ) after `array`
  PhpValue array() {
    PhpValue value = make(Kind::kArray, peek().line);
    items([&] {
      PhpMember member{{}, expression()};
      if (take("=>")) {
        const PhpValue key = std::exchange(member.value, expression());
        if (key.kind == Kind::kConstant || !append_text(member.key, key))
          member.key = key.kind == Kind::kConstant ? key.text : "";
      }
      value.members.push_back(std::move(member));
    });
    return copy(value);
  }

  PhpValue word() {
    const PhpToken& token = peek();
    if (is_word_of(0, {"static"}) && is_word_of(1, {"function", "fn"})) next();
    if (is_word_of(0, {"function", "fn"})) {
      function();
      return unknown(token.line, "a function");
    }
    next();
    std::string name = to_lower(token.text);
    const Target none{{}, false, {}, token.line};
    if (name == "array" && peek().is("(")) return with_members(none, array());
    if (name.starts_with('\\')) name.erase(0, 1);
    return with_members(none, constant(token, name), name);
  }

  PhpValue constant(const PhpToken& token, std::string_view name) {
    if (const auto found = constants_.find(token.text); found != constants_.end()) return copy(found->second);
    if (name == "null") return make(Kind::kNull, token.line);
    if (name == "php_eol") return make(Kind::kString, token.line, "\n");
    PhpValue value = make(Kind::kConstant, token.line, std::string(token.text));
    if (name == "true" || name == "false") {
      value.kind = Kind::kBool;
      value.truth = name == "true";
    }
    return value;
  }

  // Reads the arguments too.
  PhpValue call(const std::string& name, int line) {
    std::vector<PhpValue> values;
    items([&] {
      if (is_word() && peek(1).is(":")) at_ += 2;  // the argument's name
      values.push_back(expression());
    });
    listener_.on_call(name, values, line);
    for (const PhpValue& value : values) report_members(value);
    return result_of(name, values, line);
  }

  PhpValue result_of(const std::string& name, const std::vector<PhpValue>& values, int line) {
    const std::string* const text = !values.empty() && values[0].is_string() ? &values[0].text : nullptr;
    if (text != nullptr && name == "define" && values.size() >= 2) {
      define(*text, values[1]);
      return values[1];
    }
    if (text != nullptr && name == "get_option")
      return unknown(line, fmt::format("in WordPress's database, get_option('{}')", *text));
    if (text != nullptr && name == "getenv")
      return unknown(line, fmt::format("in the environment variable {}", *text));
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
  size_t copied_bytes_ = 0;
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

void follow_php(std::string_view text, PhpListener& listener) { Interpreter(text, listener).run(); }

}  // namespace bailian
