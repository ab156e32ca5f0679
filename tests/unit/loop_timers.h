#pragma once

#include <event2/event.h>
#include <sys/time.h>

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "base/event_loop.h"

namespace bailian {

/// The timers that an event loop waits for. A test sees how long a time limit is, and ends it without waiting
/// for it.
class LoopTimers {
 public:
  explicit LoopTimers(const EventLoop& loop) : base_(loop.base()) {}

  /// Whether a timer runs that was started for `time`, at `since` or later.
  [[nodiscard]] bool has(Clock::duration time, Clock::time_point since) const {
    return has_between(time - (Clock::now() - since), time);
  }
  /// Ends that timer in the loop's next iteration. False if there is none.
  [[nodiscard]] bool end(Clock::duration time, Clock::time_point since) const {
    return end_between(time - (Clock::now() - since), time);
  }

  /// Likewise for a timer that runs for another `least` to `most` from now.
  [[nodiscard]] bool has_between(Clock::duration least, Clock::duration most) const {
    return find(least, most).timer != nullptr;
  }
  [[nodiscard]] bool end_between(Clock::duration least, Clock::duration most) const {
    event* const timer = find(least, most).timer;
    if (timer != nullptr) event_active(timer, EV_TIMEOUT, 1);
    return timer != nullptr;
  }

 private:
  struct Search {
    Clock::duration least;
    Clock::duration most;
    event* timer = nullptr;
  };

  // libevent's clock is coarse.
  static constexpr std::chrono::milliseconds kTick{20};

  static int look_at(const event_base*, const event* one, void* self) {
    auto& search = *static_cast<Search*>(self);
    timeval end{};
    timeval now{};
    if (event_pending(one, EV_TIMEOUT, &end) == 0) return 0;
    ::gettimeofday(&now, nullptr);
    const auto left = std::chrono::seconds(end.tv_sec - now.tv_sec) +
                      std::chrono::microseconds(int64_t{end.tv_usec} - now.tv_usec);
    if (left >= search.least - kTick && left <= search.most + kTick)
      search.timer = const_cast<event*>(one);  // libevent calls back with a const one, and takes others
    return 0;
  }

  [[nodiscard]] Search find(Clock::duration least, Clock::duration most) const {
    Search search{least, most};
    event_base_foreach_event(base_, &LoopTimers::look_at, &search);
    return search;
  }

  event_base* base_;
};

}  // namespace bailian
