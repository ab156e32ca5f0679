#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "libevent.h"

namespace bailian::simulator {

enum class Field {
  kRequests,
  kCompleted,
  kCut,
  kOpen,
  kHeld,
  kEvents,
  kConnections,
  kWarmUps,
  kInputTokens,
  kOutputTokens
};
inline constexpr std::size_t kFields = 10;

// Is notified when a counter has changed, from the loop, at most once an iteration.
class StatsWatcher {
 public:
  virtual ~StatsWatcher() = default;
  virtual void on_stats_changed() = 0;
};

// The counters of GET /control/stats. `open` and `held` are current values; the others count since the last
// reset.
class Stats {
 public:
  explicit Stats(event_base* base);

  std::int64_t operator[](Field field) const { return values_[index(field)]; }
  void add(Field field, std::int64_t amount = 1);
  // The client closed before the end of its answer.
  void add_cut();
  void reset();
  // Changes with each reset: requests that began before it are no longer counted.
  unsigned epoch() const { return epoch_; }

  std::string json() const;
  static std::optional<Field> find(std::string_view name);

  void watch(StatsWatcher& watcher) { watchers_.insert(&watcher); }
  void unwatch(StatsWatcher& watcher) { watchers_.erase(&watcher); }

 private:
  static constexpr std::size_t index(Field field) { return static_cast<std::size_t>(field); }
  static void on_changed(evutil_socket_t, short, void* self);

  std::array<std::int64_t, kFields> values_{};
  std::chrono::steady_clock::time_point last_cut_;
  unsigned epoch_ = 0;
  std::unordered_set<StatsWatcher*> watchers_;
  Timer changed_;
};

}  // namespace bailian::simulator
