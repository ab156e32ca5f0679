#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/callback.h"
#include "base/event_loop.h"
#include "service/service_manager.h"

namespace bailian {

/// Checks four times in each watchdog interval that every loop runs the tasks posted to it, and only then
/// notifies the service manager, which otherwise ends the process. A process that no manager watches any more
/// sets itself an alarm instead: the kernel ends it by SIGALRM if the next check comes too late. First loop
/// only.
class Watchdog {
 public:
  /// The first of `loops` runs the checks; all outlive the watchdog. `on_check` is called at each check.
  Watchdog(const std::vector<EventLoop*>& loops, ServiceManager& service_manager, Callback<void()> on_check);

  /// No effect if the service manager has no watchdog.
  void start();
  /// From now on the kernel ends the process if it hangs.
  void switch_to_alarm();

 private:
  struct Loop {
    explicit Loop(EventLoop* its_loop) : loop(its_loop) {}
    [[nodiscard]] bool has_answered() const { return answered == asked; }
    EventLoop* loop;
    uint64_t asked = 0;
    std::atomic<uint64_t> answered{0};
  };

  void check();
  void ask_loops();
  void notify();
  [[nodiscard]] std::chrono::microseconds limit() const;

  ServiceManager& service_manager_;
  const Callback<void()> on_check_;
  std::deque<Loop> loops_;
  bool has_alarm_ = false;
  Timer next_check_;
};

}  // namespace bailian
