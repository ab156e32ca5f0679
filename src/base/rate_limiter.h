#pragma once

#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/log.h"

namespace bailian {

/// Rate limiter: admits at most `max` lines per window; when the window ends, or on destruction, reports how
/// many were suppressed. A window begins with the first line after the last one. Loop thread only.
class RateLimiter {
 public:
  using Report = void (*)(int suppressed);

  RateLimiter(EventLoop& loop, int max, Clock::duration window, Report report)
      : max_(max),
        window_(window),
        report_(report),
        window_end_(loop, bind<&RateLimiter::end_window>(this)) {}
  ~RateLimiter() {
    try {
      end_window();
    } catch (const std::exception&) {  // no memory for the report
      count_lost_line();
    }
  }
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  /// Whether the next line may be written. Throws std::bad_alloc.
  bool admit() {
    if (requested_ == 0) window_end_.start(window_);
    return ++requested_ <= max_;
  }

 private:
  void end_window() {
    const int requested = std::exchange(requested_, 0);
    if (requested > max_) report_(requested - max_);
  }

  const int max_;
  const Clock::duration window_;
  const Report report_;
  int requested_ = 0;  // in this window
  Timer window_end_;
};

}  // namespace bailian
