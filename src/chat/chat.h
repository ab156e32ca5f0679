#pragma once

#include <memory>
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
#include "telemetry/slow_log.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Who is told of the chats of one loop.
struct ChatObservers {
  ChatObservers(EventLoop& loop, LoopBoard& shown_on) : board(shown_on), slow(loop) {}
  LoopBoard& board;
  SlowLog slow;
};

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
  Chat(EventLoop& loop, ChatObservers& watch, std::shared_ptr<ConfigSnapshot> setup,
       StreamLimit::Permit place, ClientStream& client, const Question& request, AnswerMode mode,
       Headers headers, FailureNote note);
  void on_drained() override;
  void on_sent() override;
  void on_shutdown() override;
  void on_end() noexcept override;

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
  void on_lost() noexcept override;

  void fail(const UpstreamError& error);
  void note_piece();
  void pause_if_behind();
  void open_stream();
  void on_silence();
  void write(std::string_view event);
  void finish(std::string_view last_event);
  void note_answer(const Answer& answer);

  ChatObservers& watch_;
  const std::shared_ptr<ConfigSnapshot> setup_;
  const Config& config_;
  StreamLimit::Permit place_;
  ClientStream& client_;
  AnswerMode mode_;
  bool include_thoughts_;
  Headers headers_;
  FailureNote failure_note_;
  State state_ = State::kWaiting;
  std::string text_;     // of a non-streamed answer
  std::string thought_;  // likewise
  uint64_t pieces_ = 0;
  LiveChat live_;
  Clock::time_point last_write_;
  Timer heartbeat_;
  std::unique_ptr<Completion> completion_;
};

}  // namespace bailian
