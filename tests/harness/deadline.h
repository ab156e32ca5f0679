#pragma once

#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>

#include "harness/work_dir.h"

namespace bailian::e2e {

// How long the harness waits for an event that must happen. It only stops a test that hangs: no test depends
// on speed.
class Deadline {
 public:
  Deadline() : end_(Clock::now() + kPatience) {}

  // E2E_SLOW is set for programs under valgrind and for coverage builds.
  static inline const std::chrono::milliseconds kPatience{
      is_sanitized() || std::getenv("E2E_SLOW") != nullptr ? 60'000 : 30'000};

  // Milliseconds left for poll(2); 0 once it has passed.
  int left_ms() const {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
};

// Waits until it is so, which another process or thread brings about. False: it has not come true in time.
inline bool comes_true(const std::function<bool()>& is_so) {
  const Deadline deadline;
  while (!is_so()) {
    if (deadline.left_ms() == 0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace bailian::e2e
