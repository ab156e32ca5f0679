#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "ledger/period.h"
#include "ledger/redis_batch.h"
#include "ledger/report.h"
#include "settings/config.h"

namespace bailian {

class RedisLease;

/// Why an open answer has to end, or a question may not be asked.
enum class RedisVerdict : uint8_t { kNone, kVisitor, kDay, kMonth, kPaused, kUnknown };

/// One answer, shared by its lease on the visitor's loop and by the ledger's thread. A cache line for what is
/// written with each frame. The members stand by their writer, not by their size.
struct RedisSlot {  // NOLINT(clang-analyzer-optin.performance.Padding)
  // Written by the lease.
  alignas(64) std::atomic<uint64_t> input{0};
  std::atomic<uint64_t> output{0};
  std::atomic<uint64_t> estimated{0};
  std::atomic<uint64_t> reserves{0};     // tokens that an attempt is expected to begin with; 0: none begins
  std::atomic<uint64_t> added_input{0};  // one more than the upstream added to the question; 0: not known
  std::atomic<bool> is_answer{false};    // it is complete
  std::atomic<bool> is_abandoned{false};
  std::atomic<bool> is_closed{false};  // the lease is gone; written last

  // Written by the ledger's thread.
  alignas(64) std::atomic<uint64_t> granted{0};  // tokens that it may use; for more the thread is woken
  std::atomic<RedisVerdict> verdict{RedisVerdict::kNone};
  std::atomic<bool> is_decided{false};  // a pending lease: refused with a verdict, granted without
  std::atomic<uint64_t> generation{0};  // how often the slot was used before

  // Of the loop's thread.
  RedisLease* lease = nullptr;

  // Written before the slot is handed to the ledger's thread.
  EventLoop* loop = nullptr;
  std::string bot;
  std::string visitor;  // whose he is (visitor_of()); empty: no cap of his own
  uint64_t expected_input = 0;
  bool is_capped = false;

  // Of the ledger's thread.
  Day day = 0;  // 0: not known yet
  std::string visitor_hash;
  bool is_waiting = false;  // for its first grant
  Clock::time_point since;
  uint64_t committed = 0;  // tokens that the server has committed for it
  uint64_t counted_input = 0, counted_output = 0, counted_estimated = 0;
};

struct RedisBot {
  Caps caps;
  uint64_t expected_input = 0;  // while no answer has been seen
  double price_input = 0;
  double price_output = 0;
};

struct RedisSettings {
  std::map<std::string, RedisBot, std::less<>> bots;
  Caps total_caps;
  uint64_t slice = 0;
  bool is_abort_worst = false;
  bool is_open_on_fault = false;
  std::string timezone;
};

/// What the ledger's thread knows of the server.
struct RedisView {
  bool is_known = false;  // the server has answered
  bool is_away = false;
  std::string fault{"the server has not answered yet"};  // empty: none
  Day day = 0;
  int64_t ends = 0, month_ends = 0;                        // of the running period, in Unix seconds
  int64_t time_ms = 0;                                     // the server's clock
  Clock::time_point time_read;                             // when it was that
  std::map<std::string, RedisTotals, std::less<>> totals;  // by bot, "" for all together
  std::map<Day, std::map<std::string, Spent>> history;     // earlier days, by escaped bot

  [[nodiscard]] int64_t now_ms() const {
    return time_ms + std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - time_read).count();
  }
};

/// An order of the owner that waits for the server.
struct RedisOrder {
  RedisBatch::Order order;
  std::optional<bool> result;  // whether it has changed anything
};

/// What loops and the ledger's thread share.
struct RedisShared {
  RedisShared();

  /// The ledger's thread looks at what has changed. At most one system call until it does.
  void wake() noexcept;

  UniqueFd wake_fd;
  std::atomic<bool> is_woken{false};

  std::mutex mutex;
  std::condition_variable changed;  // orders, the view
  // Guarded by the mutex:
  std::deque<RedisSlot> slots;
  std::vector<RedisSlot*> free;
  std::vector<RedisSlot*> taken;  // not yet seen by the ledger's thread
  std::vector<std::shared_ptr<RedisOrder>> orders;
  std::map<std::string, std::pair<int64_t, int64_t>, std::less<>> counted;  // by bot: cached, refused
  RedisSettings settings;
  uint64_t settings_version = 0;
  int history_days = 0;  // that a command wants; 0: none
  RedisView view;
  uint64_t view_version = 0;
};

RedisCaps redis_caps(const RedisSettings& settings, std::string_view bot);

}  // namespace bailian
