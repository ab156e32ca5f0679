#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>

#include "chat_api.h"
#include "config.h"
#include "dashscope_client.h"
#include "event_loop.h"
#include "failed_streams.h"
#include "http.h"
#include "metrics.h"
#include "slow_log.h"
#include "status_board.h"

namespace bailian {

/// Counts the chats under way, over all loops, so that there are never more than MAX_STREAMS.
class StreamLimit {
 public:
  explicit StreamLimit(int most) : most_(most) {}

  /// A place taken, or nothing when all are.
  class Place {
   public:
    Place() = default;
    explicit Place(StreamLimit& limit) : limit_(&limit) {}
    Place(Place&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() { give_back(); }
    void give_back() {
      if (limit_ != nullptr) --limit_->taken_;
      limit_ = nullptr;
    }
    explicit operator bool() const { return limit_ != nullptr; }

   private:
    StreamLimit* limit_ = nullptr;
  };
  Place take();
  [[nodiscard]] int taken() const { return std::min(taken_.load(), most_); }
  [[nodiscard]] int peak() const { return peak_; }
  [[nodiscard]] int most() const { return most_; }

 private:
  const int most_;
  std::atomic<int> taken_{0};
  std::atomic<int> peak_{0};
};

/// What the settings of one moment make, on one loop. A reload makes another; each chat keeps the one it
/// began with, so the key and the connections of an old one last as long as its chats.
struct Setup {
  Setup(EventLoop& loop, Config from, Metrics& counting, Tally& received)
      : config(std::move(from)), metrics(counting), upstream(loop, config, received) {}
  const Config config;
  Metrics& metrics;
  DashScopeClient upstream;
};

/// Who is told of the chats of one loop.
struct Watch {
  Watch(EventLoop& loop, LoopBoard& shown_on) : board(shown_on), slow(loop) {}
  LoopBoard& board;
  SlowLog slow;
};

/// Where a stream says that it has failed.
struct FailureNote {
  FailedStreams& streams;
  FailedStreams::Question question;
};

/// One chat: a visitor's question and the answer on its way from the upstream to the browser. It is destroyed
/// with the browser's end, and the upstream transfer with it.
class Chat final : public Exchange, private AnswerHandler {
 public:
  /// `headers` are those that every answer to this request carries.
  Chat(EventLoop& loop, Watch& watch, std::shared_ptr<Setup> setup, StreamLimit::Place place,
       ClientStream& client, const ChatRequest& request, AnswerMode mode, Headers headers, FailureNote note);
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
  void beat();
  void write(std::string_view event);
  void finish(std::string_view last_event);
  void note_answer(const Answer& answer);

  Watch& watch_;
  const std::shared_ptr<Setup> setup_;
  const Config& config_;
  StreamLimit::Place place_;
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

/// The reply that tells of an error; `headers` are those of every answer to this request.
Reply error_reply(const HttpError& error, std::string_view request_id, Headers headers);

}  // namespace bailian
