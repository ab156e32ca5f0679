#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "chat/answer_recording.h"

namespace bailian {

/// The answers that an Idempotency-Key names: a question that comes again with its key, because the front end
/// repeats it or falls back, gets the same answer. Used by SharedAnswers, under its mutex.
class IdempotencyKeys {
 public:
  static constexpr size_t kMaxKeyBytes = 255;
  /// An answer is replayed for so long after its end.
  static constexpr std::chrono::seconds kRemembered{120};
  // The oldest goes when there are more.
  static constexpr size_t kMaxKeys = 1024;
  static constexpr size_t kMaxBytes = size_t{4} << 20;

  /// What names a question: a key belongs to a visitor and a bot. Throws HttpError 400 for a key that is too
  /// long or not printable.
  static std::string id(std::string_view bot, std::string_view visitor, std::string_view key);

  struct Known {
    bool is_other_question = false;
    Recorded recorded{};  // nothing: the key is free, or its answer is not here
  };
  /// A failed or cut answer leaves its key free.
  Known find(const std::string& id, uint64_t fingerprint, Clock::time_point now);
  /// The key names this question from now on, whose answer begins; or nothing, if its answer is not this
  /// visitor's own and costs nothing. Throws std::bad_alloc.
  void note(const std::string& id, uint64_t fingerprint, const Recorded& recorded, Clock::time_point now);
  /// The recording of the key has grown or ended.
  void update(const std::string& id, const AnswerRecording& recording) noexcept;

  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string id;
    uint64_t fingerprint;
    Recorded recorded;
    Clock::time_point since;
    size_t bytes = 0;  // as counted in bytes_
  };
  using Entries = std::list<Entry>;

  static bool is_over(const Entry& entry, Clock::time_point now);
  void measure(Entry& entry) noexcept;
  void evict() noexcept;
  void drop(Entries::iterator entry) noexcept;

  Entries entries_;  // oldest first
  std::unordered_map<std::string, Entries::iterator> index_;
  size_t bytes_ = 0;
};

}  // namespace bailian
