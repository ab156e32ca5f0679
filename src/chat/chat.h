#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/config_snapshot.h"
#include "chat/failed_streams.h"
#include "chat/flight.h"
#include "chat/pause_watch.h"
#include "chat/service_state.h"
#include "chat/shared_answers.h"
#include "dashscope/answer_source.h"
#include "dialects/dialect.h"
#include "telemetry/status_board.h"

namespace bailian {

/// A chat request that may go to the upstream.
struct AdmittedChat {
  std::string request_id;
  Endpoint endpoint;
  std::shared_ptr<ConfigSnapshot> snapshot;
  Bot& bot;  // of the snapshot
  StreamPermit permit;
  const Dialect& dialect;
  Headers headers;  // of every reply to this request
  FailedStreams::Key key;
  std::unique_ptr<AnswerWriter> writer;
  std::string visitor;  // the browser's address, according to the web server
  Admission admission;
  Flights& flights;    // of this loop
  PauseWatch& pauses;  // likewise
};

/// One chat: a visitor's question, and its answer on the way from the upstream to the browser. The browser's
/// end owns it; its destruction cancels the upstream transfer. Loop thread only.
class Chat final : public Exchange, private AnswerHandler {
 public:
  /// `question` may go when the constructor returns. Throws HttpError if the ledger refuses the question.
  Chat(EventLoop& loop, LoopBoard& board, ServiceState& state, ClientStream& client, const Question& question,
       AdmittedChat chat);
  void on_flushed() override;
  void on_sent() override;
  void on_shutdown() override;
  void describe(AccessRecord& record) const override;

 private:
  /// How the chat failed, for the access log.
  struct Failure {
    Outcome outcome;
    std::string code;
    std::string detail;
  };

  void on_text(std::string_view text) override;
  void on_thought(std::string_view thought) override;
  void on_bytes(Clock::time_point now) override { live_.set_last_bytes(now); }
  void on_request(const Target& target) noexcept override;
  void on_finished(const Answer& answer) override;
  void on_retry(const UpstreamError& error) override;
  void on_failover(const UpstreamError& error, const Target& from) override;
  void on_failed(const UpstreamError& error) override;
  void on_refused(const HttpError& error) override;
  void on_exception(const std::exception& error) noexcept override;

  std::unique_ptr<AnswerSource> make_source(EventLoop& loop, const Question& question);
  void enter(ChatPhase next);
  void open_stream();
  void send_piece(const Answer& answer);
  void start_pieces();
  void pause_if_behind();
  void on_heartbeat();
  void finish_stream(std::string_view last_event);
  void finish_whole(std::string body);
  void fail(const UpstreamError& error);
  void end(const HttpError& error, bool is_final);
  void note_lost_session() noexcept;
  [[nodiscard]] const Target* target() const { return source_ ? source_->target() : target_; }
  [[nodiscard]] std::string_view api_key() const {
    return target() != nullptr ? std::string_view(target()->api_key) : std::string_view();
  }

  ServiceState& state_;
  ClientStream& client_;
  AdmittedChat chat_;
  const Config& config_;
  const AnswerMode mode_;
  const bool include_thoughts_;
  const bool is_shared_;  // the answer: its attempts and tokens are counted once for all its chats
  ChatPhase phase_ = ChatPhase::kWaiting;
  uint64_t pieces_ = 0;
  int retries_ = 0;
  bool is_complete_ = false;  // the upstream's answer
  bool is_lost_session_noted_ = false;
  std::optional<Clock::time_point> first_token_;
  Clock::time_point last_write_;
  std::unique_ptr<AnswerSource> source_;
  // All that a token does not need is behind the start of this.
  LiveChat live_;
  std::optional<Failure> failure_;
  Timer heartbeat_;
  // Once the source was destroyed: the details of its answer, and the target that was asked last.
  Answer answer_;
  const Target* target_ = nullptr;
};

}  // namespace bailian
