#pragma once

#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "dashscope/answer_parser.h"
#include "dashscope/api.h"
#include "dashscope/chat_types.h"
#include "dashscope/http_client.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

namespace bailian {

/// Receives one answer. Each completion ends with exactly one on_finished or on_failed, or with on_lost when
/// one of the calls has thrown, unless it is destroyed before. Loop thread only. The completion must not be
/// destroyed inside these calls.
class AnswerHandler {
 public:
  virtual ~AnswerHandler() = default;
  /// A piece of the answer: valid UTF-8, not empty. The view dies with the call.
  virtual void on_text(std::string_view text) = 0;
  /// A piece of what the model thinks before it answers; likewise.
  virtual void on_thought(std::string_view) {}
  /// A request goes out, whose answer may be billed.
  virtual void on_request() noexcept {}
  /// Bytes came in, of whatever kind; what they mean follows.
  virtual void on_bytes(Clock::time_point) {}
  /// A finish reason was seen.
  virtual void on_finished(const Answer& answer) = 0;
  /// A try has failed for which nothing can have been billed, and another follows.
  virtual void on_retry(const UpstreamError&) {}
  virtual void on_failed(const UpstreamError& error) = 0;
  /// There is no memory to tell what happened.
  virtual void on_lost() noexcept = 0;
};

class DashScopeClient;

/// One answer being fetched. It is asked for again, UPSTREAM_RETRIES times at most, only after a failure for
/// which nothing can have been billed: no connection, or throttling before anything of an answer. Destroying
/// it cancels it at once, and with it the bill.
class Completion final : private TransferHandler {
 public:
  Completion(DashScopeClient& client, const Question& chat, AnswerMode mode, AnswerHandler& handler);
  ~Completion() override;

  /// Stops and restarts reading the answer; while paused, no silence of the upstream counts. False when
  /// that changed nothing.
  bool pause(bool paused);
  /// How often it was tried again.
  [[nodiscard]] int retries() const;
  /// What is known of the answer so far.
  [[nodiscard]] const Answer& answer() const { return parser_->answer(); }

 private:
  void on_request() noexcept override { handler_.on_request(); }
  bool on_data(const ResponseHead& head, std::string_view bytes) noexcept override;
  void on_done(const TransferResult& result) noexcept override;

  template <typename Call>
  bool guarded(Call call) noexcept;
  void on_exception(const std::exception& error) noexcept;
  bool take_data(const ResponseHead& head, std::string_view bytes);
  void take_result(const TransferResult& result);
  void deliver_pieces();
  void start_try();
  void try_again();
  void on_timer();
  [[nodiscard]] Clock::time_point deadline() const;
  void arm_timer();
  void fail(const UpstreamError& error);
  [[nodiscard]] bool may_retry(const UpstreamError& error) const;
  void retry_later(const UpstreamError& error);
  void let_go() noexcept;

  DashScopeClient& client_;
  AnswerHandler& handler_;
  AnswerMode mode_;
  std::shared_ptr<const std::string> body_;  // for a further try; none once there is no need
  std::unique_ptr<AnswerParser> parser_;
  std::unique_ptr<Transfer> transfer_;
  EndOfIteration let_go_;
  Timer timer_;
  Clock::time_point started_;
  Clock::time_point try_started_;
  Clock::time_point last_bytes_;
  int tries_left_;
  bool paused_ = false;
  bool waiting_to_retry_ = false;
  bool begun_ = false;  // the answer, in this try
  bool ended_ = false;
};

/// Asks one DashScope application, on one event loop.
class DashScopeClient {
 public:
  /// `config` and `received`, which counts the bytes of answers, must outlive the client.
  DashScopeClient(EventLoop& loop, const Config& config, Tally& received);

  std::unique_ptr<Completion> ask(const Question& chat, AnswerMode mode, AnswerHandler& handler) {
    return std::make_unique<Completion>(*this, chat, mode, handler);
  }

 private:
  friend class Completion;
  EventLoop& loop_;
  const Config& config_;
  Tally& received_;
  RequestTemplate stream_endpoint_;
  RequestTemplate json_endpoint_;
  HttpClient http_;
  std::minstd_rand jitter_;
};

}  // namespace bailian
