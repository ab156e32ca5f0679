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

  /// The clocks of libevent and of the test may differ by this much.
  static constexpr std::chrono::milliseconds kTick{20};

  /// Whether a timer runs that was started for `time` between these moments. The first must have been before
  /// the loop's iteration in which it was started.
  [[nodiscard]] bool has(Clock::duration time, Clock::time_point from,
                         Clock::time_point to = Clock::now()) const {
    return find(time, from, to) != nullptr;
  }
  /// Ends that timer in the loop's next iteration. False if there is none.
  [[nodiscard]] bool end(Clock::duration time, Clock::time_point from) const {
    return end_now(find(time, from, Clock::now()));
  }

  /// Likewise for a timer that runs for another `least` to `most` from now.
  [[nodiscard]] bool has_between(Clock::duration least, Clock::duration most) const {
    return find_between(least, most) != nullptr;
  }
  [[nodiscard]] bool end_between(Clock::duration least, Clock::duration most) const {
    return end_now(find_between(least, most));
  }

 private:
  struct Search {
    Clock::duration least;
    Clock::duration most;
    event* timer = nullptr;
  };

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

  [[nodiscard]] event* find_between(Clock::duration least, Clock::duration most) const {
    Search search{least, most};
    event_base_foreach_event(base_, &LoopTimers::look_at, &search);
    return search.timer;
  }

  // libevent counts from the start of the iteration, and a time limit that is computed as the rest of a
  // longer time from the moment of that: so twice the time since then may be missing.
  [[nodiscard]] event* find(Clock::duration time, Clock::time_point from, Clock::time_point to) const {
    const auto now = Clock::now();
    return find_between(time - 2 * (now - from), time - (now - to));
  }

  static bool end_now(event* timer) {
    if (timer != nullptr) event_active(timer, EV_TIMEOUT, 1);
    return timer != nullptr;
  }

  event_base* base_;
};

}  // namespace bailian
