// Preloaded into a program: the lookup of `slow.test` takes as long as the file that SLOW_RESOLVER names
// exists, and finds the loopback address then; `none.test` has no address.

#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>

extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (host == nullptr) return real(host, port, hints, found);
  if (std::strcmp(host, "none.test") == 0) return EAI_NONAME;
  if (std::strcmp(host, "slow.test") != 0 && std::strcmp(host, "localhost") != 0)
    return real(host, port, hints, found);
  const char* const slow = std::getenv("SLOW_RESOLVER");
  constexpr timespec kMoment{0, 10'000'000};
  while (slow != nullptr && access(slow, F_OK) == 0) nanosleep(&kMoment, nullptr);
  return real("127.0.0.1", port, hints, found);
}
