#include "base/rate_limiter.h"

#include <exception>
#include <utility>

#include "base/log.h"

namespace bailian {

RateLimiter::RateLimiter(EventLoop& loop, int max, Clock::duration window, Report report)
    : max_(max), window_(window), report_(report), window_end_(loop, bind<&RateLimiter::end_window>(this)) {}

RateLimiter::~RateLimiter() {
  try {
    end_window();
  } catch (const std::exception&) {  // no memory for the report
    count_lost_line();
  }
}

bool RateLimiter::admit() {
  if (requested_ == 0) window_end_.start(window_);
  return ++requested_ <= max_;
}

void RateLimiter::end_window() {
  const int requested = std::exchange(requested_, 0);
  if (requested > max_) report_(requested - max_);
}

}  // namespace bailian
