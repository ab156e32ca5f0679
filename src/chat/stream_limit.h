#pragma once

#include <algorithm>
#include <atomic>
#include <utility>

namespace bailian {

/// Counts the chats under way, over all loops, so that there are never more than MAX_STREAMS.
class StreamLimit {
 public:
  explicit StreamLimit(int limit) : limit_(limit) {}

  /// A place taken, or nothing when all are.
  class Permit {
   public:
    Permit() = default;
    explicit Permit(StreamLimit& limit) : limit_(&limit) {}
    Permit(Permit&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    Permit& operator=(Permit&&) = delete;
    ~Permit() { give_back(); }
    void give_back() {
      if (limit_ != nullptr) --limit_->taken_;
      limit_ = nullptr;
    }
    explicit operator bool() const { return limit_ != nullptr; }

   private:
    StreamLimit* limit_ = nullptr;
  };
  Permit take();
  [[nodiscard]] int taken() const { return std::min(taken_.load(), limit_); }
  [[nodiscard]] int peak() const { return peak_; }
  [[nodiscard]] int limit() const { return limit_; }

 private:
  const int limit_;
  std::atomic<int> taken_{0};
  std::atomic<int> peak_{0};
};

}  // namespace bailian
