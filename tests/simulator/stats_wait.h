#pragma once

#include <cstdint>
#include <optional>

#include "connection.h"
#include "http_message.h"
#include "stats.h"

namespace bailian::simulator {

// Exactly one of the limits is set.
struct StatsGoal {
  Field field = Field::kRequests;
  std::optional<std::int64_t> at_least;
  std::optional<std::int64_t> at_most;
  milliseconds timeout{5000};

  bool is_met(const Stats& stats) const {
    return at_least ? stats[field] >= *at_least : stats[field] <= *at_most;
  }
};

// A long poll: answers 200 when the goal is met, 408 when the time is up.
class StatsWait : public Exchange, private StatsWatcher {
 public:
  StatsWait(event_base* base, Connection& connection, const HttpRequest& request, Stats& stats,
            StatsGoal goal);
  StatsWait(const StatsWait&) = delete;
  StatsWait& operator=(const StatsWait&) = delete;
  ~StatsWait() override { stats_.unwatch(*this); }

  Next on_drained() override { return is_answered_ ? Next::kFinish : Next::kWait; }

 private:
  static void on_timeout(evutil_socket_t, short, void* self);
  void on_stats_changed() override;
  void answer(int status);

  Connection& connection_;
  Stats& stats_;
  StatsGoal goal_;
  HttpRequest request_;  // no body, no headers: the framing depends on these
  Timer timer_;
  bool is_answered_ = false;
};

}  // namespace bailian::simulator
