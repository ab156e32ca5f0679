#include "directive.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "api_error.h"

namespace bailian::simulator {
namespace {

constexpr std::string_view kOpening = "[[sim";
constexpr std::string_view kClosing = "]]";

constexpr std::pair<std::string_view, Fault> kFaults[] = {
    {"reset", Fault::kReset},
    {"reset-midway", Fault::kResetMidway},
    {"cut", Fault::kCut},
    {"no-stop", Fault::kNoStop},
    {"truncated-chunk", Fault::kTruncatedChunk},
    {"stall", Fault::kStall},
    {"hang", Fault::kHang},
    {"dribble", Fault::kDribble},
    {"bad-json", Fault::kBadJson},
    {"bad-utf8", Fault::kBadUtf8},
    {"lone-surrogate", Fault::kLoneSurrogate},
    {"deep", Fault::kDeep},
    {"huge", Fault::kHuge},
    {"endless-line", Fault::kEndlessLine},
    {"flood", Fault::kFlood},
    {"html", Fault::kHtml},
    {"plain503", Fault::kPlain503},
    {"empty", Fault::kEmpty},
    {"redirect", Fault::kRedirect},
    {"gzip", Fault::kGzip},
    {"close-idle", Fault::kCloseIdle},
    {"crlf", Fault::kCrlf},
    {"comments", Fault::kComments},
    {"cumulative", Fault::kCumulative},
    {"null-finish", Fault::kNullFinish},
    {"last-text", Fault::kLastText},
};

constexpr std::pair<std::string_view, Mode> kModes[] = {
    {"agent", Mode::kAgent},
    {"message_format", Mode::kMessageFormat},
    {"full_thoughts", Mode::kFullThoughts},
    {"thoughts", Mode::kThoughts},
    {"rag", Mode::kRag},
};

constexpr std::pair<std::string_view, Framing> kFramings[] = {
    {"json", Framing::kJson},
    {"sse200", Framing::kSse200},
    {"sse", Framing::kSse},
};

constexpr std::pair<std::string_view, Message> kMessages[] = {
    {"key", Message::kKey},
    {"budget", Message::kBudget},
};

struct BadValue {};

std::size_t number(std::string_view value, std::size_t least, std::size_t most) {
  std::size_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || end != value.data() + value.size()) throw BadValue();
  if (result < least || result > most) throw BadValue();
  return result;
}

std::chrono::milliseconds duration(std::string_view value) {
  return std::chrono::milliseconds(number(value, 0, 86'400'000));
}

template <typename T, std::size_t kSize>
T named(std::string_view value, const std::pair<std::string_view, T> (&names)[kSize]) {
  for (const auto& [name, meaning] : names) {
    if (name == value) return meaning;
  }
  throw BadValue();
}

bool is_only(std::string_view value, std::string_view allowed) {
  if (value != allowed) throw BadValue();
  return true;
}

std::string word(std::string_view value) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (value.empty() || !std::all_of(value.begin(), value.end(), is_word)) throw BadValue();
  return std::string(value);
}

struct Key {
  std::string_view name;
  void (*set)(Directive& directive, std::string_view value);
};

constexpr std::size_t kMany = 1'000'000'000;
constexpr std::size_t kMaxEvents = 10'000'000;
constexpr std::size_t kMaxTextBytes = 64U << 20U;

constexpr Key kKeys[] = {
    {"interval", [](Directive& d, std::string_view v) { d.interval = duration(v); }},
    {"delay", [](Directive& d, std::string_view v) { d.delay = duration(v); }},
    {"batch", [](Directive& d, std::string_view v) { d.batch = number(v, 1, kMaxEvents); }},
    {"chunk", [](Directive& d, std::string_view v) { d.chunk_bytes = number(v, 1, kMany); }},
    {"hold", [](Directive& d, std::string_view v) { d.hold = number(v, 0, kMany); }},
    {"events", [](Directive& d, std::string_view v) { d.events = number(v, 0, kMaxEvents); }},
    {"bytes", [](Directive& d, std::string_view v) { d.bytes = number(v, 0, kMaxTextBytes); }},
    {"piece", [](Directive& d, std::string_view v) { d.piece = number(v, 1, kMany); }},
    {"text",
     [](Directive& d, std::string_view v) {
       d.echo = v == "echo";
       d.clock = !d.echo && is_only(v, "clock");
     }},
    {"mode", [](Directive& d, std::string_view v) { d.mode = named(v, kModes); }},
    {"finish", [](Directive& d, std::string_view v) { d.finish = word(v); }},
    {"example", [](Directive& d, std::string_view v) { d.example = word(v); }},
    {"status", [](Directive& d, std::string_view v) { d.status = static_cast<int>(number(v, 400, 599)); }},
    {"code", [](Directive& d, std::string_view v) { d.code = word(v); }},
    {"framing", [](Directive& d, std::string_view v) { d.framing = named(v, kFramings); }},
    {"message", [](Directive& d, std::string_view v) { d.message = named(v, kMessages); }},
    {"after", [](Directive& d, std::string_view v) { d.after = number(v, 0, kMany); }},
    {"fault", [](Directive& d, std::string_view v) { d.fault = named(v, kFaults); }},
    {"times", [](Directive& d, std::string_view v) { d.times = number(v, 1, kMany); }},
};

[[noreturn]] void reject(const std::string& reason) {
  throw ApiError(400, "InvalidParameter", "simulator directive: " + reason + "; see simulator --help");
}

void set_pair(Directive& directive, std::string_view pair) {
  const auto equals = pair.find('=');
  const std::string_view name = pair.substr(0, equals);
  const auto* key =
      std::find_if(std::begin(kKeys), std::end(kKeys), [name](const Key& k) { return k.name == name; });
  if (key == std::end(kKeys)) reject("unknown key \"" + std::string(name) + "\"");
  if (equals == std::string_view::npos) reject("no value in \"" + std::string(pair) + "\"");
  try {
    key->set(directive, pair.substr(equals + 1));
  } catch (const BadValue&) {
    reject("bad value in \"" + std::string(pair) + "\"");
  }
}

Directive parse_directive(std::string_view source) {
  constexpr std::string_view kSpace = " \t\r\n";
  Directive directive;
  directive.source = source;
  std::string_view rest = source.substr(kOpening.size(), source.size() - kOpening.size() - kClosing.size());
  for (;;) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
    if (rest.empty()) return directive;
    const std::string_view pair = rest.substr(0, rest.find_first_of(kSpace));
    set_pair(directive, pair);
    rest.remove_prefix(pair.size());
  }
}

std::size_t find_directive(std::string_view prompt) {
  auto begin = prompt.find(kOpening);
  while (begin != std::string_view::npos) {
    const std::string_view behind = prompt.substr(begin + kOpening.size());
    if (behind.empty() || behind.find_first_of(" \t\r\n]") == 0) break;
    begin = prompt.find(kOpening, begin + 1);
  }
  return begin;
}

}  // namespace

Directive Directive::without_trouble() const {
  Directive rest = *this;
  rest.fault = Fault::kNone;
  rest.status.reset();
  rest.code.clear();
  rest.after.reset();
  rest.example.clear();
  return rest;
}

Prompt parse_prompt(std::string_view prompt) {
  const auto begin = find_directive(prompt);
  if (begin == std::string_view::npos) return {std::string(prompt), {}};
  const auto closing = prompt.find(kClosing, begin);
  if (closing == std::string_view::npos) reject("no closing \"]]\"");
  const auto end = closing + kClosing.size();

  Prompt result{std::string(prompt.substr(0, begin)), parse_directive(prompt.substr(begin, end - begin))};
  std::string_view tail = prompt.substr(end);
  if (tail.starts_with(' ')) tail.remove_prefix(1);
  result.text += tail;
  return result;
}

}  // namespace bailian::simulator
