#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace bailian::simulator {

enum class Fault {
  kNone,
  kReset,
  kResetMidway,
  kCut,
  kNoStop,
  kTruncatedChunk,
  kStall,
  kHang,
  kDribble,
  kBadJson,
  kBadUtf8,
  kLoneSurrogate,
  kDeep,
  kHuge,
  kEndlessLine,
  kFlood,
  kHtml,
  kPlain503,
  kEmpty,
  kRedirect,
  kGzip,
  kCloseIdle,
  kCrlf,
  kComments,
  kCumulative,
  kNullFinish,
  kLastText,
};

enum class Mode { kAgent, kMessageFormat, kFullThoughts, kThoughts, kRag };

// The three framings of an error before any text: contract.md §4.1, rows a to c.
enum class Framing { kJson, kSse200, kSse };

// Messages that are not documented with a code.
enum class Message { kKey, kBudget };

// The request in `[[sim key=value ...]]` of a prompt; an empty optional means the default.
struct Directive {
  std::string source;  // as written in the prompt: requests with the same text share `times`

  std::optional<std::chrono::milliseconds> interval;
  std::optional<std::chrono::milliseconds> delay;
  std::optional<std::size_t> batch;
  std::optional<std::size_t> chunk_bytes;
  std::optional<std::size_t> hold;

  std::optional<std::size_t> events;
  std::optional<std::size_t> bytes;
  std::optional<std::size_t> piece;
  bool echo = false;
  bool clock = false;
  Mode mode = Mode::kAgent;
  std::string finish = "stop";

  std::string example;
  std::optional<int> status;
  std::string code;
  std::optional<Framing> framing;
  std::optional<Message> message;  // instead of the published one
  std::optional<std::size_t> after;
  Fault fault = Fault::kNone;
  std::optional<std::size_t> times;

  bool asks_for_error() const { return status.has_value() || !code.empty(); }
  // The directive once `times` is used up: pace and text, without faults.
  Directive without_trouble() const;
};

struct Prompt {
  std::string text;  // without the directive and one space after it
  Directive directive;
};

// Throws ApiError InvalidParameter that describes the error.
Prompt parse_prompt(std::string_view prompt);

}  // namespace bailian::simulator
