#pragma once

#include <exception>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "dashscope/answer_parser.h"
#include "dashscope/api.h"
#include "dashscope/chat_types.h"
#include "dashscope/http_client.h"
#include "dashscope/warm_up.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

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
  virtual void on_request() noexcept {}
  /// Bytes have arrived. The calls for their contents follow.
  virtual void on_bytes(Clock::time_point) {}
  /// The answer is complete: it has a finish reason.
  virtual void on_finished(const Answer& answer) = 0;
  /// An attempt has failed for which nothing can have been billed, and another will follow.
  virtual void on_retry(const UpstreamError&) {}
  virtual void on_failed(const UpstreamError& error) = 0;
  /// Another call, even on_finished or on_failed, or the completion itself has thrown, usually for lack of
  /// memory.
  virtual void on_exception(const std::exception& error) noexcept = 0;
};

class DashScopeClient;

/// One answer that is being fetched, in at most 1 + UPSTREAM_RETRIES attempts. Another attempt follows only a
/// failure for which nothing can have been billed: no connection, or throttling before any part of an answer.
/// Destroying a completion cancels the transfer at once, so that no more tokens are billed.
class Completion final : private TransferHandler {
 public:
  Completion(DashScopeClient& client, const Question& question, AnswerMode mode, AnswerHandler& handler);
  ~Completion() override;

  /// Stops reading an answer that has started; the idle timeout stops too. False when nothing changed.
  bool pause();
  /// Goes on reading. Data that was held back may be delivered during the call.
  void resume();
  /// Makes no further call to the handler. The request ends when this is destroyed.
  void cancel() noexcept;
  [[nodiscard]] int retries() const { return retries_; }
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

  void on_request() noexcept override { handler_.on_request(); }
  bool on_data(const ResponseHead& head, std::string_view bytes) override;
  void on_done(const TransferResult& result) override;
  void on_exception(const std::exception& error) noexcept override;

  void enter(State next);
  void start_attempt();
  void deliver_pieces();
  void note_progress();
  void on_timer();
  [[nodiscard]] Clock::time_point deadline() const;
  void arm_timer();
  [[nodiscard]] UpstreamError timeout_error(Clock::time_point now) const;
  void fail(const UpstreamError& error);
  [[nodiscard]] bool may_retry(const UpstreamError& error) const;
  void back_off(const UpstreamError& error);
  void finish();
  void end() noexcept;
  void drain_transfer() noexcept;

  DashScopeClient& client_;
  AnswerHandler& handler_;
  const AnswerMode mode_;
  std::shared_ptr<const std::string> body_;  // of the request; none once there can be no further attempt
  std::unique_ptr<AnswerParser> parser_;
  std::unique_ptr<Transfer> transfer_;
  EndOfIteration drain_later_;
  Timer timer_;
  State state_ = State::kWaiting;
  int retries_ = 0;
  bool waits_for_timeout_ = false;  // while kBackingOff: TIMEOUT comes before another attempt
  const Clock::time_point give_up_at_;
  Clock::time_point attempt_started_;
  Clock::time_point last_bytes_;
};

/// Asks one DashScope application, on one event loop.
class DashScopeClient {
 public:
  /// `config` and `received`, which counts the bytes of answers, must outlive the client. Throws
  /// std::bad_alloc.
  DashScopeClient(EventLoop& loop, const Config& config, Tally& received);

  std::unique_ptr<Completion> ask(const Question& question, AnswerMode mode, AnswerHandler& handler) {
    return std::make_unique<Completion>(*this, question, mode, handler);
  }

  /// Makes a connection ready for a question that may come soon, unless WARM_UP=off or the application is not
  /// configured. `metrics` must outlive the client.
  void expect_question(Metrics& metrics) noexcept;
  void stop_expecting() noexcept { warm_up_.stop(); }

 private:
  friend class Completion;
  EventLoop& loop_;
  const Config& config_;
  Tally& received_;
  RequestTemplate stream_endpoint_;
  RequestTemplate json_endpoint_;
  HttpClient http_;
  WarmUp warm_up_;
  std::minstd_rand jitter_;
};

}  // namespace bailian
