#include "settings/placeholder.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/text.h"

namespace bailian {
namespace {

// Words that mean "put yours here": a text made of words of these two lists is a placeholder if it has one of
// these.
constexpr auto kTelling = std::to_array<std::string_view>(
    {"your",      "yours",     "here",  "key",     "keys",   "apikey",   "id",   "ids",         "appid",
     "insert",    "enter",     "paste", "replace", "change", "changeme", "fill", "none",        "null",
     "nil",       "undefined", "empty", "false",   "true",   "todo",     "tbd",  "placeholder", "not",
     "unset",     "ici",       "votre", "cle",     "clé",    "hier",     "dein", "deinen",      "ihren",
     "schlüssel", "aqui",      "aquí",  "clave",   "qui",    "chiave",   "chave"});
// Words that go with them but prove nothing alone: an application may be called my-app.
constexpr auto kAccompanying = std::to_array<std::string_view>(
    {"sk",      "my",     "our",     "the",    "an",   "api",     "app",       "application", "dashscope",
     "bailian", "aliyun", "alibaba", "cloud",  "qwen", "openai",  "workspace", "for",         "from",
     "with",    "this",   "to",      "of",     "in",   "me",      "put",       "goes",        "set",
     "is",      "no",     "real",    "actual", "own",  "example", "sample",    "text",        "value",
     "string",  "secret", "token",   "vient",  "la",   "kommt",   "der",       "tu",          "su"});
// Bytes of UTF-8 that no key has, between which there are no blanks.
constexpr auto kAnywhere = std::to_array<std::string_view>(
    {"...", "…", "<", ">", "${", "$(", "{{", "你的", "您的", "密钥", "填", "替换", "此处", "这里"});

template <typename Words>
bool is_among(std::string_view word, const Words& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }
bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && is_word_char(text[end])) ++end;
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

struct Meaning {
  bool is_made_of_words = false;
  bool is_telling = false;
};

// Of a word such as "your", "xxxx" or "yourapikey".
Meaning meaning_of(std::string_view word) {
  constexpr size_t kLongest = 40;
  if (word.size() > 1 && word.find_first_not_of('x') == std::string_view::npos) return {true, true};
  if (word.size() > kLongest) return {};
  // For each length: whether that many bytes are words, and whether one of them is of the first list.
  std::vector<Meaning> upto(word.size() + 1);
  upto[0].is_made_of_words = true;
  for (size_t start = 0; start < word.size(); ++start) {
    if (!upto[start].is_made_of_words) continue;
    for (size_t end = start + 1; end <= word.size(); ++end) {
      const std::string_view part = word.substr(start, end - start);
      const bool is_telling = is_among(part, kTelling);
      if (!is_telling && !is_among(part, kAccompanying)) continue;
      upto[end].is_made_of_words = true;
      upto[end].is_telling = upto[end].is_telling || upto[start].is_telling || is_telling;
    }
  }
  return upto.back();
}

}  // namespace

bool is_placeholder(std::string_view text) {
  if (text.empty() || std::any_of(text.begin(), text.end(), is_control)) return false;
  for (const std::string_view part : kAnywhere) {
    if (text.find(part) != std::string_view::npos) return true;
  }
  if (text.front() == '$' || text.front() == '%' || text == "sk-0E") return true;
  const std::string small = to_lower(text);
  const bool is_key = small.starts_with("sk-");
  const auto words = words_of(small);
  bool all_are_words = true;
  bool one_tells = words.empty() || (words.size() == 1 && words.front() == "sk");
  for (const std::string_view word : words) {
    if (word == "your" || word == "placeholder" || word == "changeme") return true;
    const Meaning meaning = meaning_of(word);
    all_are_words = all_are_words && meaning.is_made_of_words;
    one_tells = one_tells || meaning.is_telling;
  }
  if (all_are_words && one_tells) return true;
  // A sentence, in whatever language.
  return !is_key && std::count(text.begin(), text.end(), ' ') >= 2;
}

}  // namespace bailian
