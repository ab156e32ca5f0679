#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/config_snapshot.h"
#include "chat/failed_streams.h"
#include "chat/stream_limit.h"
#include "dashscope/client.h"
#include "dialects/myapi.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Where a stream says that it has failed.
struct FailureNote {
  FailedStreams& streams;
  FailedStreams::Key question;
};

/// One chat: a visitor's question and the answer on its way from the upstream to the browser. It is destroyed
/// with the browser's end, and the upstream transfer with it.
class Chat final : public Exchange, private AnswerHandler {
 public:
  /// `headers` are those that every answer to this request carries.
  Chat(EventLoop& loop, LoopBoard& board, std::shared_ptr<ConfigSnapshot> setup, StreamLimit::Permit place,
       ClientStream& client, std::string request_id, const Question& request, AnswerMode mode,
       Headers headers, FailureNote note);
  void on_flushed() override;
  void on_sent() override;
  void on_shutdown() override;
  void describe(AccessRecord& record) const override;

 private:
  enum class State {
    kWaiting,    // nothing was sent: a failure is an HTTP error
    kStreaming,  // the status line is out: a failure is a terminal event
    kFinished    // the last byte was handed over
  };

  void on_text(std::string_view text) override;
  void on_thought(std::string_view thought) override;
  void on_bytes(Clock::time_point now) override { live_.set_last_bytes(now); }
  void on_request() noexcept override { setup_->metrics.count_upstream_request(); }
  void on_finished(const Answer& answer) override;
  void on_retry(const UpstreamError& error) override;
  void on_failed(const UpstreamError& error) override;
  void on_exception(const std::exception& error) noexcept override;

  void fail(const UpstreamError& error);
  void note_piece();
  void pause_if_behind();
  void open_stream();
  void on_silence();
  void write(std::string_view event);
  void finish(std::string_view last_event);

  const std::shared_ptr<ConfigSnapshot> setup_;
  const Config& config_;
  StreamLimit::Permit place_;
  ClientStream& client_;
  const std::string request_id_;
  AnswerMode mode_;
  bool include_thoughts_;
  Headers headers_;
  FailureNote failure_note_;
  State state_ = State::kWaiting;
  std::string text_;     // of a non-streamed answer
  std::string thought_;  // likewise
  uint64_t pieces_ = 0;
  int retries_ = 0;
  std::optional<Clock::time_point> first_token_;
  bool is_complete_ = false;
  struct Failure {
    Outcome outcome;
    std::string code;    // without keys
    std::string detail;  // likewise
  };
  std::optional<Failure> failure_;
  LiveChat live_;
  Clock::time_point last_write_;
  Timer heartbeat_;
  std::unique_ptr<Completion> completion_;
  Answer answer_;  // what had come when it was cancelled
};

}  // namespace bailian
