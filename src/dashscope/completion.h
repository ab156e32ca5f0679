#pragma once

#include <bitset>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "dashscope/answer_parser.h"
#include "dashscope/answer_source.h"
#include "dashscope/chat_types.h"
#include "dashscope/client.h"
#include "settings/config.h"
#include "settings/settings_table.h"

namespace bailian {

class Targets;

/// One answer that is being fetched. A failed attempt is followed by another one only if nothing of an answer
/// has arrived, and only one is under way at a time:
/// - at the next target, if the fault may be the target's alone (UpstreamError::cool_down) and that target
///   was not asked yet. One that rests after a failure is asked only if nothing else is left.
/// - or, after a pause, at the same target, if nothing can have been billed: no connection, or throttling.
///   There are at most UPSTREAM_RETRIES of these.
/// Destroying a completion cancels the transfer at once, so that no more tokens are billed.
class Completion final : public AnswerSource, private TransferHandler {
 public:
  /// `mode`: how the upstream is asked, which may differ from how the visitor has asked. `started`: when the
  /// visitor's time began, which TIMEOUT limits.
  Completion(Targets& targets, const Question& question, AnswerMode mode, AnswerHandler& handler,
             Clock::time_point started);
  ~Completion() override;

  /// The idle timeout stops too.
  bool pause() override;
  void resume() override;
  /// The transfer ends in this iteration of the loop.
  void cancel() noexcept override;
  [[nodiscard]] const Target* target() const override { return &client_->target(); }
  [[nodiscard]] bool has_lost_session() const override { return has_lost_session_; }
  [[nodiscard]] const Answer& answer() const override { return parser_->answer(); }
  [[nodiscard]] int retries() const { return retries_; }

 private:
  enum class State {
    kWaiting,     // an attempt is under way; nothing of the answer has arrived
    kAnswering,   // the answer has started
    kPaused,      // likewise, but it is not read at the moment
    kBackingOff,  // the last attempt has failed; the timer starts the next
    kEnded        // the handler knows the outcome
  };

  void on_request() noexcept override { handler_.on_request(*target()); }
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
  void leave_transfer() noexcept;

  Targets& targets_;
  DashScopeClient* client_ = nullptr;  // of the latest attempt
  TargetHealth::Probe probe_;          // if this finds out whether that target is well again
  std::bitset<kMaxTargets> asked_;     // by index
  AnswerHandler& handler_;
  const AnswerMode mode_;
  const bool has_first_token_limit_;         // not for a whole answer: its visitor waits for the end
  std::shared_ptr<const std::string> body_;  // of the request; none once there can be no further attempt
  std::shared_ptr<const std::string> body_without_session_;  // for other targets; none: it is body_
  std::unique_ptr<AnswerParser> parser_;
  std::unique_ptr<Transfer> transfer_;
  EndOfIteration leave_later_;
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
