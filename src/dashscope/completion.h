#pragma once

#include <bitset>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "dashscope/answer_parser.h"
#include "dashscope/chat_types.h"
#include "dashscope/client.h"
#include "settings/config.h"
#include "settings/settings_table.h"

namespace bailian {

/// Receives one answer, on the loop's thread. The last call is on_finished, on_failed or on_exception, unless
/// the completion is destroyed before, which no call may do.
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
  /// The answer is complete: it has a finish reason.
  virtual void on_finished(const Answer& answer) = 0;
  /// An attempt has failed for which nothing can have been billed, and another will follow.
  virtual void on_retry(const UpstreamError&) {}
  /// An attempt has failed before any part of an answer; the next is at another target.
  virtual void on_failover(const UpstreamError&, const Target& /*from*/) {}
  virtual void on_failed(const UpstreamError& error) = 0;
  /// Another call, even on_finished or on_failed, or the completion itself has thrown, usually for lack of
  /// memory.
  virtual void on_exception(const std::exception& error) noexcept = 0;
};

class Targets;

/// One answer that is being fetched. A failed attempt is followed by another one only if nothing of an answer
/// has arrived, and only one is under way at a time:
/// - at the next target, if the fault may be the target's alone (UpstreamError::cool_down) and that target
///   was not asked yet. One that rests after a failure is asked only if nothing else is left.
/// - or, after a pause, at the same target, if nothing can have been billed: no connection, or throttling.
///   There are at most UPSTREAM_RETRIES of these.
/// Destroying a completion cancels the transfer at once, so that no more tokens are billed.
class Completion final : private TransferHandler {
 public:
  Completion(Targets& targets, const Question& question, AnswerMode mode, AnswerHandler& handler);
  ~Completion() override;

  /// Stops reading an answer that has started; the idle timeout stops too. False when nothing changed.
  bool pause();
  /// Goes on reading. Data that was held back may be delivered during the call.
  void resume();
  /// Makes no further call to the handler. The request ends when this is destroyed.
  void cancel() noexcept;
  [[nodiscard]] int retries() const { return retries_; }
  /// That was asked last. Lives as long as the settings.
  [[nodiscard]] const Target& target() const { return client_->target(); }
  /// Whether the question named a session that its answer does not continue: its target is unknown, rests or
  /// has failed.
  [[nodiscard]] bool has_lost_session() const { return has_lost_session_; }
  /// The details of the answer so far.
  [[nodiscard]] const Answer& answer() const { return parser_->answer(); }

 private:
  enum class State {
    kWaiting,     // an attempt is under way; nothing of the answer has arrived
    kAnswering,   // the answer has started
    kPaused,      // likewise, but it is not read at the moment
    kBackingOff,  // the last attempt has failed; the timer starts the next
    kEnded        // the handler knows the outcome
  };

  void on_request() noexcept override { handler_.on_request(target()); }
  bool on_data(const ResponseHead& head, std::string_view bytes) override;
  void on_done(const TransferResult& result) override;
  void on_exception(const std::exception& error) noexcept override;

  void enter(State next);
  size_t choose_first(std::optional<size_t> preferred);
  void take(size_t index, TargetHealth::Probe probe);
  void start_attempt();
  void deliver_pieces();
  void note_progress();
  void on_timer();
  [[nodiscard]] Clock::time_point deadline() const;
  void arm_timer();
  [[nodiscard]] UpstreamError timeout_error(Clock::time_point now) const;
  void fail(UpstreamError error);
  void note_failure(const UpstreamError& error) noexcept;
  bool fail_over(const UpstreamError& error, bool to_resting);
  [[nodiscard]] bool may_retry(const UpstreamError& error) const;
  void back_off(const UpstreamError& error);
  void finish();
  void end() noexcept;
  void drain_transfer() noexcept;

  Targets& targets_;
  DashScopeClient* client_ = nullptr;  // of the latest attempt
  TargetHealth::Probe probe_;          // if this finds out whether that target is well again
  std::bitset<kMaxTargets> asked_;     // by index
  AnswerHandler& handler_;
  const AnswerMode mode_;
  std::shared_ptr<const std::string> body_;  // of the request; none once there can be no further attempt
  std::shared_ptr<const std::string> body_without_session_;  // for other targets; none: it is body_
  std::unique_ptr<AnswerParser> parser_;
  std::unique_ptr<Transfer> transfer_;
  EndOfIteration drain_later_;
  Timer timer_;
  State state_ = State::kWaiting;
  int retries_ = 0;
  bool waits_for_timeout_ = false;  // while kBackingOff: TIMEOUT comes before another attempt
  bool may_be_billed_ = false;      // an attempt that has failed, although nothing has arrived
  bool has_lost_session_ = false;
  const Clock::time_point give_up_at_;
  Clock::time_point attempt_started_;
  Clock::time_point last_bytes_;
};

}  // namespace bailian
