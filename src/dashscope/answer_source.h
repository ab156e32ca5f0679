#pragma once

#include <exception>
#include <string_view>

#include "base/clock.h"
#include "base/exchange.h"
#include "dashscope/chat_types.h"
#include "settings/config.h"

namespace bailian {

/// Receives one answer, on the loop's thread. The last call is on_finished, on_refused, on_failed or
/// on_exception, unless the source is destroyed before, which no call may do.
class AnswerHandler {
 public:
  virtual ~AnswerHandler() = default;
  /// A piece of the answer: valid UTF-8, not empty. The view is valid during the call.
  virtual void on_text(std::string_view text) = 0;
  /// A piece of the model's thinking before its answer, likewise.
  virtual void on_thought(std::string_view) {}
  /// A request is about to be sent; its answer may be billed.
  virtual void on_request(const Target&) noexcept {}
  /// Bytes have arrived. The calls for their contents follow.
  virtual void on_bytes(Clock::time_point) {}
  /// Something has arrived that is billed, and its pieces were delivered: the details of the answer say how
  /// much was used so far. Not called for the end of a complete answer.
  virtual void on_billed() {}
  /// The answer is complete: it has a finish reason.
  virtual void on_finished(const Answer& answer) = 0;
  /// An attempt has failed for which nothing can have been billed, and another will follow.
  virtual void on_retry(const UpstreamError&) {}
  /// An attempt has failed before any part of an answer; the next is at another target.
  virtual void on_failover(const UpstreamError&, const Target& /*from*/) {}
  virtual void on_failed(const UpstreamError& error) = 0;
  /// The upstream is not asked, or asked no further, for a reason of our own. `error` is for the visitor.
  virtual void on_refused(const HttpError& /*error*/) {}
  /// Another call, even on_finished or on_failed, or the source itself has thrown, usually for lack of
  /// memory.
  virtual void on_exception(const std::exception& error) noexcept = 0;
};

/// Where an answer comes from. It reports to an AnswerHandler, never from its constructor. Destroying it ends
/// the answer at once, so that no more tokens are billed. Loop thread only.
class AnswerSource {
 public:
  virtual ~AnswerSource() = default;

  /// Stops an answer that has started. False when nothing changed.
  virtual bool pause() = 0;
  /// Goes on. What was held back may be delivered during the call.
  virtual void resume() = 0;
  /// Makes no further call to the handler. An upstream request ends when this is destroyed at the latest.
  virtual void cancel() noexcept = 0;
  /// The target that was asked last. Lives as long as the settings; nullptr: none was asked.
  [[nodiscard]] virtual const Target* target() const = 0;
  /// Whether the question named a session that its answer does not continue: its target is unknown, rests or
  /// has failed.
  [[nodiscard]] virtual bool has_lost_session() const = 0;
  /// The details of the answer so far.
  [[nodiscard]] virtual const Answer& answer() const = 0;
};

}  // namespace bailian
