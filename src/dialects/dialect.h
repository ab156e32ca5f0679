#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

/// Writes one answer in the form that a dialect's front ends read. Bytes in, bytes out: no socket, no clock.
///
/// A streamed answer is begin(), then pieces and heartbeats, then finish() or fail(). Each event is at most
/// kMaxEventBytes long. The pieces of a whole answer yield no events; finish() or cut() returns its body.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  /// Adds the header fields of an answer that succeeds.
  virtual void begin(Headers& headers) const = 0;

  /// A piece of the answer, or of the model's thoughts: valid UTF-8, not empty. Take all its events with
  /// next_event() before the next piece; until then `piece` and `answer` must stay as they are.
  virtual void text(std::string_view piece, const Answer& answer) = 0;
  virtual void thought(std::string_view piece, const Answer& answer) = 0;
  /// The next event; nothing when the piece is written. The view is valid until the next call.
  virtual std::optional<std::string_view> next_event() = 0;

  /// Bytes that keep a silent stream open and that the front ends ignore.
  [[nodiscard]] virtual std::string_view heartbeat() const = 0;

  /// The terminal event of a stream, or a whole answer's body.
  virtual std::string finish(const Answer& answer) = 0;
  /// A whole answer's body when it ends before it is complete: what there is of it, and why.
  virtual std::string cut(const Answer& answer, const HttpError& error) = 0;
  /// The terminal event of a stream that has begun and fails.
  virtual std::string fail(const HttpError& error) = 0;
};

struct QuestionLimits {
  size_t max_prompt_bytes;
  size_t max_history_messages;
  std::span<const std::string> visitor_params{};  // the names that browsers may send; see VISITOR_PARAMS
};

/// A chat request that was understood, and the writer of its answer.
struct ParsedRequest {
  Question question;
  std::unique_ptr<AnswerWriter> writer;
};

/// How one kind of front end asks and reads: a pure codec. A new dialect is one of these, named in the lines
/// of its routes.
struct Dialect {
  /// `path` is the route's. Throws HttpError 400 or 413.
  ParsedRequest (*parse)(const Request& request, std::string_view path, const QuestionLimits& limits);
  /// The reply to a request that fails before its answer has begun; `headers` are added to.
  Reply (*refuse)(const HttpError& error, std::string_view request_id, Headers headers);
};

/// Adds what tells a client whether and when to repeat a request that failed: to the headers of the reply.
void add_retry_headers(const HttpError& error, Headers& headers);

}  // namespace bailian
