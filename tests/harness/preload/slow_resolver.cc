// Preloaded into a program. The lookup of `slow.test` ends when the file named by SLOW_RESOLVER is removed,
// and finds a link-local address, with TWO_ADDRESSES 127.0.0.2 instead, and then the loopback address.
// `none.test` has no address. While the file named by NO_THREADS exists, the clock is a quarter of an hour
// ahead and no thread can be started; while the one named by LATER exists, it is nine minutes ahead. With
// NO_NAMES, localhost has no address either. With BOTH_FAMILIES it has ::1 and 127.0.0.1.

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (host == nullptr) return real(host, port, hints, found);
  if (std::strcmp(host, "none.test") == 0) return EAI_NONAME;
  if (std::getenv("NO_NAMES") != nullptr && std::strcmp(host, "localhost") == 0) return EAI_AGAIN;
  if (std::strcmp(host, "slow.test") != 0 && std::strcmp(host, "localhost") != 0)
    return real(host, port, hints, found);
  const char* const slow = std::getenv("SLOW_RESOLVER");
  constexpr timespec kMoment{0, 10'000'000};
  while (slow != nullptr && access(slow, F_OK) == 0) nanosleep(&kMoment, nullptr);
  const char* const first = std::getenv("BOTH_FAMILIES") != nullptr   ? "::1"
                            : std::getenv("TWO_ADDRESSES") != nullptr ? "127.0.0.2"
                                                                      : "fe80::1%1";
  const int code = real(first, port, hints, found);
  return code != 0 ? code : real("127.0.0.1", port, hints, &(*found)->ai_next);
}

namespace {

bool exists(const char* variable) {
  const char* const file = std::getenv(variable);
  return file != nullptr && access(file, F_OK) == 0;
}

bool is_without_threads() { return exists("NO_THREADS"); }

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (result == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE))
    now->tv_sec += is_without_threads() ? 900 : exists("LATER") ? 540 : 0;
  return result;
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                              void* argument) noexcept {
  using Function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_create"));
  return is_without_threads() ? EAGAIN : real(thread, attributes, run, argument);
}
