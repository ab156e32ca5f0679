#include "service/watchdog.h"

#include <sys/time.h>

#include <algorithm>
#include <cassert>

#include "base/log.h"

namespace bailian {

constexpr int kChecksPerLimit = 4;

Watchdog::Watchdog(const std::vector<EventLoop*>& loops, ServiceManager& service_manager,
                   Callback<void()> on_check)
    : service_manager_(service_manager),
      on_check_(on_check),
      loops_(loops.begin(), loops.end()),
      next_check_(*loops.front(), bind<&Watchdog::check>(this)) {}

std::chrono::microseconds Watchdog::limit() const {
  constexpr std::chrono::seconds kUnmanagedLimit{30};
  return service_manager_.watchdog().value_or(kUnmanagedLimit);
}

void Watchdog::start() {
  if (service_manager_.watchdog()) check();
}

void Watchdog::switch_to_alarm() {
  assert(!has_alarm_);
  has_alarm_ = true;
  notify();
  next_check_.start(limit() / kChecksPerLimit);
}

void Watchdog::check() {
  assert(loops_.front().loop->in_loop_thread());
  next_check_.start(limit() / kChecksPerLimit);
  if (std::all_of(loops_.begin(), loops_.end(), [](const Loop& loop) { return loop.has_answered(); })) {
    notify();
  } else {
    log(LogLevel::kError, "loop_hangs", "the watchdog is not notified");
  }
  ask_loops();
  on_check_();
}

// post() may throw: only a loop that was asked must answer.
void Watchdog::ask_loops() {
  for (Loop& loop : loops_) {
    if (!loop.has_answered()) continue;
    loop.loop->post([&loop] { ++loop.answered; });
    ++loop.asked;
  }
}

void Watchdog::notify() {
  if (!has_alarm_) return service_manager_.notify_watchdog();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit());
  const itimerval alarm = {{0, 0}, {seconds.count(), (limit() - seconds).count()}};
  ::setitimer(ITIMER_REAL, &alarm, nullptr);
}

}  // namespace bailian
