// Preloaded into a program: each time it reads the wall clock, the clock jumps by years, back and forth. The
// monotonic clock is not changed.

#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <iterator>

namespace {

time_t jump() {
  constexpr time_t kYear = time_t{365} * 86400;
  static std::atomic<int> looks{0};
  constexpr time_t kJumps[] = {0, 10 * kYear, -20 * kYear, 1, -1, 86400, -kYear};
  return kJumps[static_cast<size_t>(looks++) % std::size(kJumps)];
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
  return result;
}

extern "C" int gettimeofday(timeval* now, void*) noexcept {
  timespec precise{};
  const int result = clock_gettime(CLOCK_REALTIME, &precise);
  *now = {precise.tv_sec, precise.tv_nsec / 1000};
  return result;
}

extern "C" time_t time(time_t* now) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now != nullptr) *now = precise.tv_sec;
  return precise.tv_sec;
}
