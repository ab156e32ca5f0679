#pragma once

#include "base/clock.h"
#include "base/event_loop.h"

namespace bailian {

/// Rate limiter: admits at most `max` lines per window; when the window ends, or on destruction, reports how
/// many were suppressed. A window begins with the first line after the last one. Loop thread only.
class RateLimiter {
 public:
  using Report = void (*)(int suppressed);

  RateLimiter(EventLoop& loop, int max, Clock::duration window, Report report);
  ~RateLimiter();
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  /// Whether the next line may be written. Throws std::bad_alloc.
  bool admit();

 private:
  void end_window();

  const int max_;
  const Clock::duration window_;
  const Report report_;
  int requested_ = 0;  // in this window
  Timer window_end_;
};

}  // namespace bailian
