#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "chat/answer_reader.h"
#include "chat/answer_recording.h"
#include "chat/config_snapshot.h"
#include "chat/service_state.h"
#include "chat/shared_answers.h"
#include "dashscope/answer_source.h"

namespace bailian {

class Flights;

/// An answer that is asked for once, for all chats that wait for it: writes what comes into a recording. It
/// lives on the loop of the chat that asked first, and goes on when that one leaves; when the last one has
/// left, it ends, and with it the upstream request. While nobody wants more it pauses the upstream. Loop
/// thread only, but for notify().
class Flight final : private AnswerHandler {
 public:
  using Ask = std::function<std::unique_ptr<AnswerSource>(AnswerHandler&)>;

  /// `ask` makes the source of the answer, for the chat of `asker`, which has the request id. Use start().
  Flight(EventLoop& loop, Flights& flights, ServiceState& state, std::shared_ptr<ConfigSnapshot> snapshot,
         const Bot& bot, std::string request_id, FlightDuty duty, AnswerReader& asker, const Ask& ask);
  ~Flight() override;

  [[nodiscard]] const Answer& answer() const { return source_->answer(); }
  [[nodiscard]] const Target* target() const { return source_->target(); }
  [[nodiscard]] bool has_lost_session() const { return source_->has_lost_session(); }

  void forget_asker() noexcept { asker_ = nullptr; }
  /// Looks at the subscribers again at the end of the iteration.
  void schedule_review() noexcept { review_later_.schedule(); }
  /// Likewise, in the next iteration. Any thread.
  void notify() noexcept { notifier_.notify(); }

 private:
  friend class Flights;

  void on_text(std::string_view text) override { append(RecordedPiece::Kind::kText, text); }
  void on_thought(std::string_view thought) override { append(RecordedPiece::Kind::kThought, thought); }
  void on_request(const Target& target) noexcept override;
  void on_finished(const Answer& answer) override;
  void on_retry(const UpstreamError& error) override;
  void on_failover(const UpstreamError& error, const Target& from) override;
  void on_failed(const UpstreamError& error) override;
  void on_refused(const HttpError& error) override;
  void on_exception(const std::exception& error) noexcept override;

  void append(RecordedPiece::Kind kind, std::string_view text);
  void finish(AnswerRecording::State state, RecordingEnd end);
  void end() noexcept;
  void review();
  [[nodiscard]] AnswerHandler* asker_handler() { return asker_ != nullptr ? asker_->handler() : nullptr; }
  [[nodiscard]] RecordingEnd end_so_far() const;
  [[nodiscard]] bool may_be_cached(const Answer& answer) const;
  [[nodiscard]] AnswerRecording& recording() { return duty_.recording(); }

  Flights& flights_;
  ServiceState& state_;
  const std::shared_ptr<ConfigSnapshot> snapshot_;  // keeps the bot
  const Bot& bot_;
  const std::string request_id_;
  FlightDuty duty_;
  AnswerReader* asker_;  // nullptr: has left
  bool has_ended_ = false;
  bool has_text_ = false;
  bool is_paused_ = false;
  bool is_complete_ = false;
  std::string session_id_;  // the last one in the recording
  EndOfIteration review_later_;
  Notifier notifier_;
  std::list<std::unique_ptr<Flight>>::iterator place_;  // in Flights
  std::unique_ptr<AnswerSource> source_;
};

/// The flights of one loop. Loop thread only.
class Flights {
 public:
  explicit Flights(EventLoop& loop) : destroy_later_(loop, bind<&Flights::destroy_ended>(this)) {}

  /// Starts a flight; the arguments are those of Flight. If it throws, the recording is broken off.
  template <typename... Args>
  void start(EventLoop& loop, Args&&... args) {
    running_.push_back(std::make_unique<Flight>(loop, *this, std::forward<Args>(args)...));
    running_.back()->place_ = std::prev(running_.end());
  }

 private:
  friend class Flight;
  void end(const Flight& flight) noexcept {
    ended_.splice(ended_.end(), running_, flight.place_);
    destroy_later_.schedule();
  }
  void destroy_ended() { ended_.clear(); }

  std::list<std::unique_ptr<Flight>> running_;
  std::list<std::unique_ptr<Flight>> ended_;
  EndOfIteration destroy_later_;
};

}  // namespace bailian
