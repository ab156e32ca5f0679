#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <utility>

namespace bailian {

/// Limits the chats of all loops to MAX_STREAMS. Any thread.
class StreamLimit {
 public:
  explicit StreamLimit(int limit) : limit_(limit) {}

  /// The right to run one chat, given back on destruction. False: there was none left.
  class Permit {
   public:
    Permit() = default;
    explicit Permit(StreamLimit& limit) : limit_(&limit) {}
    Permit(Permit&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    Permit& operator=(Permit&&) = delete;
    ~Permit() { give_back(); }
    void give_back() {
      if (limit_ == nullptr) return;
      [[maybe_unused]] const int taken = std::exchange(limit_, nullptr)->taken_--;
      assert(taken > 0);
    }
    explicit operator bool() const { return limit_ != nullptr; }

   private:
    StreamLimit* limit_ = nullptr;
  };
  Permit take() {
    const int taken = ++taken_;
    if (taken > limit_) {
      --taken_;
      return {};
    }
    for (int peak = peak_; peak < taken && !peak_.compare_exchange_weak(peak, taken);) {
    }
    return Permit(*this);
  }
  [[nodiscard]] int taken() const { return std::min(taken_.load(), limit_); }
  [[nodiscard]] int peak() const { return peak_; }
  [[nodiscard]] int limit() const { return limit_; }

 private:
  const int limit_;
  std::atomic<int> taken_{0};  // above the limit while a take() fails
  std::atomic<int> peak_{0};
};

}  // namespace bailian
