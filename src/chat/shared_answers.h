#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/event_loop.h"
#include "chat/answer_cache.h"
#include "chat/answer_reader.h"
#include "chat/answer_recording.h"
#include "chat/idempotency_keys.h"
#include "settings/config.h"

namespace bailian {

class SharedAnswers;

/// What the flight that asks for an answer owes to those who wait for it: the recording gets an end on every
/// path. Any thread.
class FlightDuty {
 public:
  FlightDuty() = default;
  FlightDuty(SharedAnswers& owner, std::shared_ptr<AnswerRecording> recording,
             std::optional<AnswerCache::Key> cache_key, std::string idempotency_id) noexcept
      : owner_(&owner),
        recording_(std::move(recording)),
        cache_key_(std::move(cache_key)),
        idempotency_id_(std::move(idempotency_id)) {}
  FlightDuty(FlightDuty&& other) noexcept = default;
  FlightDuty& operator=(FlightDuty&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(recording_, other.recording_);
    std::swap(cache_key_, other.cache_key_);
    std::swap(idempotency_id_, other.idempotency_id_);
    return *this;
  }
  /// Breaks the recording off if it has no end.
  ~FlightDuty();
  explicit operator bool() const { return recording_ != nullptr; }

  [[nodiscard]] AnswerRecording& recording() const { return *recording_; }
  /// Of the question; empty: none.
  [[nodiscard]] const std::string& idempotency_id() const { return idempotency_id_; }
  /// The recording has grown or ended.
  void update() noexcept;

 private:
  friend class SharedAnswers;
  SharedAnswers* owner_ = nullptr;
  std::shared_ptr<AnswerRecording> recording_;
  std::optional<AnswerCache::Key> cache_key_;
  std::string idempotency_id_;  // empty: none
};

/// How a question gets its answer.
struct Admission {
  AnswerRecording::Subscription subscription;  // none: the chat asks for itself alone
  ReaderRole role = ReaderRole::kAsker;
  FlightDuty duty;  // of the asker
  // For log and metrics; empty: does not apply.
  std::string_view cache;       // hit, joined or miss
  std::string_view idempotent;  // replayed or joined

  /// Whether the answer is there already, to its end.
  [[nodiscard]] bool is_complete() const {
    return subscription && subscription.recording().state() == AnswerRecording::State::kFinished;
  }
};

/// The answers that several chats may get: those in the cache, those under way, and those that an
/// Idempotency-Key names. One for the process; any thread.
class SharedAnswers {
 public:
  /// A question that may share its answer.
  struct Request {
    std::optional<AnswerCache::Key> cache_key;  // none: it is not to be cached
    std::string idempotency_id;                 // see IdempotencyKeys::id(); empty: none
    uint64_t fingerprint = 0;                   // of the question, for its idempotency key
    bool is_fresh = false;                      // pass the cache by, and refresh it
  };

  /// The answer that is there or under way; else a recording that the caller's flight on `loop` has to fill.
  /// Throws HttpError 422 when the key belongs to another question, and std::bad_alloc.
  Admission admit(Request request, const Config& config, EventLoop& loop, Clock::time_point now);

  /// Forgets the cached answers that `config` would not ask for.
  void retain(const Config& config);

 private:
  friend class FlightDuty;
  void update(const FlightDuty& duty) noexcept;

  std::mutex mutex_;  // guards both
  AnswerCache cache_;
  IdempotencyKeys keys_;
};

}  // namespace bailian
