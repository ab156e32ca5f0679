#pragma once

#include <optional>

#include "base/event_loop.h"
#include "chat/answer_recording.h"
#include "dashscope/answer_source.h"
#include "settings/config.h"

namespace bailian {

class Flight;

/// The chat that a recorded answer goes to.
enum class ReaderRole {
  kAsker,        // the one that the upstream is asked for
  kSameVisitor,  // it repeats the question: it gets the session and the usage of the answer as well
  kOther,        // it gets neither
};

/// The answer of one chat, read from a recording: what is there at once, the rest as it arrives. Loop thread
/// only, but for notify().
class AnswerReader final : public AnswerSource {
 public:
  /// `config`, of the chat's bot, and `handler` must outlive it. Throws std::bad_alloc.
  AnswerReader(EventLoop& loop, AnswerRecording::Subscription subscription, ReaderRole role,
               const Config& config, AnswerHandler& handler);
  ~AnswerReader() override;

  bool pause() override;
  void resume() override;
  void cancel() noexcept override;
  [[nodiscard]] const Target* target() const override;
  [[nodiscard]] bool has_lost_session() const override;
  [[nodiscard]] const Answer& answer() const override;

  [[nodiscard]] EventLoop& loop() const { return loop_; }
  /// Takes what is new to the handler.
  void deliver() noexcept;
  /// Likewise, soon. Any thread.
  void notify() noexcept { notifier_.notify(); }

  // For the flight of the asker, while the answer is under way.
  void follow(Flight& flight) { flight_ = &flight; }
  void unfollow() noexcept { flight_ = nullptr; }
  /// Gets to know of attempts, unless the outcome is known already.
  [[nodiscard]] AnswerHandler* handler() { return state_ != State::kEnded ? &handler_ : nullptr; }

 private:
  enum class State {
    kReading,
    kPaused,
    kEnded  // the handler knows the outcome
  };

  void read();
  void take(const RecordedPiece& piece);
  void end(AnswerRecording::State how);
  void on_exception(const std::exception& error) noexcept;
  [[nodiscard]] bool is_same_visitor() const { return role_ != ReaderRole::kOther; }

  EventLoop& loop_;
  EndOfIteration deliver_later_;
  Notifier notifier_;
  // Ends before the notifier, which others use until then.
  AnswerRecording::Subscription subscription_;
  const ReaderRole role_;
  const Config& config_;
  AnswerHandler& handler_;
  RecordingCursor cursor_;
  State state_ = State::kReading;
  bool is_delivering_ = false;
  Answer answer_;             // as another visitor sees it
  Flight* flight_ = nullptr;  // of the asker, while the answer is under way
};

}  // namespace bailian
