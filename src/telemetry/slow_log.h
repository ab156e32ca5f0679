#pragma once

#include <functional>
#include <vector>

#include "base/access_record.h"
#include "base/event_loop.h"
#include "base/log.h"

namespace bailian {

/// Lets so many lines of a kind through in each window of time, and at its end, or at its own, tells how many
/// it did not.
class LineLimit {
 public:
  LineLimit(EventLoop& loop, int most, Clock::duration window, std::function<void(int left_out)> tell);
  ~LineLimit();
  LineLimit(const LineLimit&) = delete;
  LineLimit& operator=(const LineLimit&) = delete;

  bool admit();

 private:
  void end_window();

  const int most_;
  const Clock::duration window_;
  const std::function<void(int)> tell_;
  int asked_ = 0;  // in this window
  Timer window_end_;
};

/// Logs the chats that were slow. One per loop.
class SlowLog {
 public:
  explicit SlowLog(EventLoop& loop);

  /// Writes a line for each limit of the record that the request exceeded. Lost like any other line.
  void note(const AccessRecord& record, Clock::time_point now) noexcept;

 private:
  LineLimit limit_;
};

/// What SlowLog writes: for each limit that was exceeded the fields of a line.
std::vector<LogFields> slow_lines(const AccessRecord& record, Clock::time_point now);

}  // namespace bailian
