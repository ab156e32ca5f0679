#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "chat/failed_streams.h"
#include "chat/shared_answers.h"
#include "dashscope/http_client.h"
#include "dashscope/target_health.h"
#include "ledger/ledger.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Limits the chats of all loops, or those of one bot, to MAX_STREAMS. Any thread.
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
  [[nodiscard]] int taken() const { return std::min(taken_.load(), limit()); }
  [[nodiscard]] int peak() const { return peak_; }
  [[nodiscard]] int limit() const { return limit_; }
  /// Chats over a lower limit may end as they are.
  void set_limit(int limit) { limit_ = limit; }

 private:
  std::atomic<int> limit_;
  std::atomic<int> taken_{0};  // above the limit while a take() fails
  std::atomic<int> peak_{0};
};

/// The right to run one chat of a bot.
class StreamPermit {
 public:
  StreamPermit() = default;
  StreamPermit(StreamLimit::Permit of_all, StreamLimit::Permit of_bot)
      : of_all_(std::move(of_all)), of_bot_(std::move(of_bot)) {}
  explicit operator bool() const { return of_all_ && of_bot_; }
  void reset() {
    of_all_.reset();
    of_bot_.reset();
  }

 private:
  StreamLimit::Permit of_all_;
  StreamLimit::Permit of_bot_;
};

/// What all loops share. Any thread, unless a member says otherwise.
struct ServiceState {
  explicit ServiceState(const Config& config) : streams(config.max_streams) {}
  const CurlLibrary curl;
  StreamLimit streams;
  /// Those of a bot. A bot that is gone keeps its entry.
  StreamLimit& streams_of(const std::string& bot) {
    const std::lock_guard lock(bot_streams_mutex_);
    const auto [entry, is_new] = bot_streams_.try_emplace(bot, std::numeric_limits<int>::max());
    if (is_new) metrics.add_bot(bot);
    return entry->second;
  }
  StreamPermit take_permit(StreamLimit& of_bot) { return {streams.take(), of_bot.take()}; }
  /// nullptr: nobody counts what is spent. Outlives this. Set before the loops start.
  Ledger* ledger = nullptr;
  FailedStreams failed_streams;
  SharedAnswers answers;
  TargetHealths targets;
  Metrics metrics;
  std::atomic<bool> draining{false};
  /// Draining, and no other process takes over: new chats are refused.
  std::atomic<bool> refusing{false};
  /// The settings have faults: chats are refused. Set before the loops start.
  bool misconfigured = false;
  StatusBoard board;

 private:
  std::mutex bot_streams_mutex_;
  std::map<std::string, StreamLimit, std::less<>> bot_streams_;  // by the bot's name
};

}  // namespace bailian
