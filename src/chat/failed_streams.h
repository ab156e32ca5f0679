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
#include <unordered_map>

#include "base/clock.h"
#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

/// Remembers for half a minute which questions have failed as a stream although the upstream had been asked.
/// An old front end asks the same question once more, at the endpoint for whole answers: it gets the same
/// error, and nothing is billed twice. Any thread.
class FailedStreams {
 public:
  static constexpr std::chrono::seconds kRemembered{30};
  /// Beyond these the oldest is forgotten.
  static constexpr size_t kMaxQuestions = 4096;

  /// What tells questions of visitors apart: a hash, so that nothing they said is kept. Somebody who makes
  /// two of them equal gets one error for nothing.
  using Question = uint64_t;
  [[nodiscard]] Question question(std::string_view visitor, const ChatRequest& request) const;

  struct Failure {
    HttpError error;            // as the visitor was told it
    std::string upstream_code;  // as it was logged
  };
  /// Without memory for it, nothing is remembered.
  void remember(Question question, const Failure& failure, Clock::time_point now) noexcept;
  /// How the stream of this question failed. It is told once: who asks again has a new question.
  std::optional<Failure> take(Question question, Clock::time_point now);

 private:
  struct Entry {
    Failure failure;
    Clock::time_point since;
  };
  struct Moment {
    Question question;
    Clock::time_point since;
  };
  void forget_oldest();

  const uint64_t salt_ = std::random_device{}();
  std::mutex mutex_;  // guards what follows
  std::unordered_map<Question, Entry> entries_;
  std::deque<Moment> moments_;  // the oldest first; also of entries that are gone
};

}  // namespace bailian
