#pragma once

#include <chrono>

namespace bailian {

/// The clock of every deadline and duration. It never jumps.
using Clock = std::chrono::steady_clock;

using Seconds = std::chrono::duration<double>;
using Milliseconds = std::chrono::duration<double, std::milli>;

inline Clock::duration to_duration(Seconds seconds) {
  return std::chrono::duration_cast<Clock::duration>(seconds);
}

}  // namespace bailian
