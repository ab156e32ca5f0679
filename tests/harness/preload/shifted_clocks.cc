// Preloaded into a program: shifts its clocks by the seconds in the file CLOCK_SHIFTS, two numbers of 64
// bits: the first for the wall clock and the clock since the boot, the second for the wall clock alone. The
// monotonic clock, by which it waits, is not changed.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

struct Shifts {
  std::atomic<int64_t> passed;
  std::atomic<int64_t> jumped;
};

const Shifts& shifts() {
  static const Shifts none{};
  static const Shifts* const mapped = [] {
    const char* const path = getenv("CLOCK_SHIFTS");
    const int fd = path != nullptr ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void* const bytes = fd >= 0 ? mmap(nullptr, sizeof(Shifts), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0) close(fd);
    return bytes != MAP_FAILED ? static_cast<const Shifts*>(bytes) : &none;
  }();
  return *mapped;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (result != 0) return result;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
    now->tv_sec += shifts().passed + shifts().jumped;
  if (clock == CLOCK_BOOTTIME) now->tv_sec += shifts().passed;
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
