#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

class AnswerReader;
class Flight;

/// A piece of a recorded answer, as it came from the upstream.
struct RecordedPiece {
  enum class Kind : uint8_t {
    kText,
    kThought,
    kSession  // the session id of the pieces that follow
  };
  Kind kind;
  std::string_view text;
};

/// Pieces of an answer, one after the other in memory. One thread appends, any thread reads.
class RecordingChunk {
 public:
  /// Throws std::bad_alloc.
  explicit RecordingChunk(size_t capacity)
      : bytes_(std::make_unique_for_overwrite<char[]>(capacity)), capacity_(capacity) {}

 private:
  friend class AnswerRecording;
  friend class RecordingCursor;

  const std::unique_ptr<char[]> bytes_;
  const size_t capacity_;
  std::atomic<size_t> size_{0};
  std::shared_ptr<RecordingChunk> next_;  // set before is_full_
  std::atomic<bool> is_full_{false};
};

/// Reads the pieces of a recording in their order. One thread at a time.
class RecordingCursor {
 public:
  explicit RecordingCursor(std::shared_ptr<const RecordingChunk> start) : chunk_(std::move(start)) {}
  /// Nothing when there is no further piece yet. The view is valid until the next call.
  std::optional<RecordedPiece> next();

 private:
  std::shared_ptr<const RecordingChunk> chunk_;
  size_t offset_ = 0;
};

/// How a recording ended. The secrets in it were masked.
struct RecordingEnd {
  Answer answer;                                                 // its details, or those so far
  std::variant<std::monostate, UpstreamError, HttpError> fault;  // HttpError: refused or cut, by a cap
  int target = 0;  // the number of the one that was asked last; 0: none
  Clock::time_point at;
  bool may_be_cached = false;
};

/// One answer, kept in the pieces it came in, so that several chats on any loop read it from its beginning,
/// each at its own pace. The flight writes it on its own loop, `home`. A chunk lives as long as somebody may
/// read it: who keeps a recording for later readers holds its first chunk, and a reader the chunk it is at.
///
/// Members that do not say otherwise may be called on any thread.
class AnswerRecording {
 public:
  enum class State : uint8_t {
    kUnderWay,
    kFinished,
    kFailed,     // or was cut by a cap: see RecordingEnd
    kBroken,     // for lack of memory
    kAbandoned,  // the last subscriber has left before the end
  };

  /// The right to read a recording. The flight goes on as long as there is one.
  class Subscription;

  explicit AnswerRecording(EventLoop& home);
  AnswerRecording(const AnswerRecording&) = delete;
  AnswerRecording& operator=(const AnswerRecording&) = delete;

  [[nodiscard]] State state() const { return state_.load(std::memory_order_acquire); }
  /// Of all pieces, and of the memory that is reserved for more.
  [[nodiscard]] size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  /// Once the state is kFinished or kFailed.
  [[nodiscard]] const RecordingEnd& end() const { return end_; }

  // --- for the flight, on its loop's thread ---

  [[nodiscard]] const std::shared_ptr<RecordingChunk>& last_chunk() const { return last_chunk_; }
  void attach(Flight& flight) noexcept;
  void detach() noexcept;
  /// True when the recording has got more memory. Throws std::bad_alloc; then nothing was appended.
  bool append(RecordedPiece::Kind kind, std::string_view text);
  /// Once only.
  void finish(State state, RecordingEnd end) noexcept;
  /// True, and the recording has ended, if nobody is subscribed.
  bool abandon_if_unread() noexcept;
  /// Whether there are subscribers, and none of them wants more at the moment.
  [[nodiscard]] bool is_paused_by_all() const noexcept;
  /// Lets every reader have what is new: those of this loop now, others on their own threads.
  void deliver() noexcept;

  /// The flight never started: for its guard, on any thread.
  void break_off() noexcept;

 private:
  friend class Subscription;

  bool subscribe() noexcept;
  void attach(AnswerReader& reader);
  void leave(AnswerReader* reader, bool is_paused) noexcept;
  void set_paused(const AnswerReader& reader, bool paused) noexcept;
  void notify_flight(bool from_home) noexcept;
  void notify_remote() noexcept;

  EventLoop& home_;
  std::shared_ptr<RecordingChunk> last_chunk_;  // of the writer
  std::atomic<size_t> bytes_;
  std::atomic<State> state_{State::kUnderWay};
  RecordingEnd end_;  // written before state_

  std::vector<AnswerReader*> local_;  // of the home loop; used on its thread only
  std::atomic<bool> has_remote_{false};
  mutable std::mutex mutex_;           // guards the members below
  std::vector<AnswerReader*> remote_;  // of other loops
  size_t subscribers_ = 0;             // also those without a reader yet
  size_t paused_ = 0;
  Flight* flight_ = nullptr;
};

/// A recording and its beginning.
struct Recorded {
  std::shared_ptr<AnswerRecording> recording;
  std::shared_ptr<const RecordingChunk> start;
  explicit operator bool() const { return recording != nullptr; }
};
/// A new one, for a flight on `home`. Throws std::bad_alloc.
Recorded start_recording(EventLoop& home);

class AnswerRecording::Subscription {
 public:
  Subscription() = default;
  /// Without effect if the recording was abandoned or has failed: nobody can read it any more.
  explicit Subscription(const Recorded& recorded);
  Subscription(Subscription&& other) noexcept { *this = std::move(other); }
  /// Neither may have a reader.
  Subscription& operator=(Subscription&& other) noexcept;
  ~Subscription();
  explicit operator bool() const { return recording_ != nullptr; }

  [[nodiscard]] const AnswerRecording& recording() const { return *recording_; }
  [[nodiscard]] const std::shared_ptr<const RecordingChunk>& start() const { return start_; }
  /// From now on `reader` gets to know what is new. Throws std::bad_alloc.
  void attach(AnswerReader& reader);
  void set_paused(bool paused) noexcept;
  /// The beginning is no longer needed.
  void forget_start() noexcept { start_.reset(); }

 private:
  std::shared_ptr<AnswerRecording> recording_;
  std::shared_ptr<const RecordingChunk> start_;
  AnswerReader* reader_ = nullptr;
  bool is_paused_ = false;
};

}  // namespace bailian
