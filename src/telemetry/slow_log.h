#pragma once

#include <vector>

#include "base/access_record.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/rate_limiter.h"

namespace bailian {

/// Logs slow chats. One per loop.
class SlowLog {
 public:
  explicit SlowLog(EventLoop& loop);

  /// Writes a line for each limit of the record that the request exceeded. Lost like any other line.
  void note(const AccessRecord& record, Clock::time_point now) noexcept;

 private:
  RateLimiter limiter_;
};

/// The fields of SlowLog's lines: one line for each limit that the request exceeded. A limit of 0 means no
/// limit.
std::vector<LogFields> slow_lines(const AccessRecord& record, Clock::time_point now);

}  // namespace bailian
