#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <memory>

#include "chat/failed_streams.h"
#include "dashscope/http_client.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Limits the chats of all loops to MAX_STREAMS. Any thread.
class StreamLimit {
 public:
  explicit StreamLimit(int limit) : limit_(limit) {}

  struct GiveBack {
    void operator()(StreamLimit* limit) const {
      [[maybe_unused]] const int taken = limit->taken_--;
      assert(taken > 0);
    }
  };
  /// The right to run one chat, given back on reset() or destruction. False: there was none left.
  using Permit = std::unique_ptr<StreamLimit, GiveBack>;
  Permit take() {
    const int taken = ++taken_;
    if (taken > limit_) {
      --taken_;
      return {};
    }
    for (int peak = peak_; peak < taken && !peak_.compare_exchange_weak(peak, taken);) {
    }
    return Permit(this);
  }
  [[nodiscard]] int taken() const { return std::min(taken_.load(), limit_); }
  [[nodiscard]] int peak() const { return peak_; }
  [[nodiscard]] int limit() const { return limit_; }

 private:
  const int limit_;
  std::atomic<int> taken_{0};  // above the limit while a take() fails
  std::atomic<int> peak_{0};
};

/// What all loops share. Any thread, unless a member says otherwise.
struct ServiceState {
  explicit ServiceState(const Config& config) : streams(config.max_streams) {}
  const CurlLibrary curl;
  StreamLimit streams;
  FailedStreams failed_streams;
  Metrics metrics;
  std::atomic<bool> draining{false};
  /// Draining, and no other process takes over: new chats are refused.
  std::atomic<bool> refusing{false};
  /// The settings have faults: chats are refused. Set before the loops start.
  bool misconfigured = false;
  StatusBoard board;
};

}  // namespace bailian
