#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

/// Remembers for half a minute which questions failed as a stream after the upstream was asked, or were
/// refused. An old front end then repeats the question at the endpoint for whole answers: it gets the same
/// error, and nothing is billed twice. Any thread.
class FailedStreams {
 public:
  static constexpr std::chrono::seconds kRemembered{30};
  /// When there are more, the oldest is dropped.
  static constexpr size_t kMaxQuestions = 4096;

  /// Identifies a visitor's question. A salted hash, so no text is kept. A visitor who forges a collision
  /// gains an error message and nothing else.
  using Key = uint64_t;
  [[nodiscard]] Key key(std::string_view visitor, const Question& question) const;

  struct Failure {
    HttpError error;            // as the visitor saw it
    std::string upstream_code;  // as it was logged
  };
  /// Remembers nothing when memory is exhausted.
  void remember(Key key, const Failure& failure, Clock::time_point now) noexcept;
  /// How the stream of this question failed. Returned once: another repetition is a new question.
  std::optional<Failure> take(Key key, Clock::time_point now);

 private:
  struct Entry {
    Key key;
    Failure failure;
    Clock::time_point since;
  };

  const uint64_t salt_ = std::random_device{}();
  std::mutex mutex_;           // guards entries_
  std::deque<Entry> entries_;  // oldest first, each key once
};

}  // namespace bailian
