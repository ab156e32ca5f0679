// A link with a round-trip time: a network interface whose other end is this machine again, half a round trip
// later.
//   usage: bench_link INTERFACE ROUND_TRIP_MS     needs CAP_NET_ADMIN and /dev/net/tun
// Each IPv4 packet that leaves by the interface comes back in after half the time, with its two addresses
// exchanged. With the interface at 10.77.0.1, a server there is reached as 10.77.0.2, and sees its clients
// as 10.77.0.2. So every packet is delayed, also those of the handshake of TCP. The exchange leaves the
// checksums as they are. "ready" on stdout: the interface exists. It is gone when this program ends.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <deque>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/unique_fd.h"

namespace {

using bailian::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = 65536;       // of a packet
constexpr size_t kMostOnTheWay = 100'000;  // packets; further ones are lost, as on a full line
constexpr size_t kHeaderBytes = 20;
constexpr size_t kSource = 12;
constexpr size_t kDestination = 16;
constexpr size_t kAddressBytes = 4;
constexpr long kMostMs = 10'000;

class Link {
 public:
  Link(const std::string& interface, std::chrono::microseconds one_way)
      : one_way_(one_way), fd_(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)) {
    if (!fd_) throw std::system_error(errno, std::generic_category(), "/dev/net/tun");
    ifreq request{};
    if (interface.size() >= sizeof request.ifr_name) throw std::invalid_argument("the name is too long");
    std::copy(interface.begin(), interface.end(), request.ifr_name);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (::ioctl(fd_.get(), TUNSETIFF, &request) != 0)
      throw std::system_error(errno, std::generic_category(), interface);
  }

  [[noreturn]] void run() {
    for (;;) {
      wait();
      take();
      deliver();
    }
  }

 private:
  struct Packet {
    Clock::time_point due;
    std::string bytes;
  };

  void wait() {
    pollfd entry{fd_.get(), POLLIN, 0};
    timespec patience{};
    if (!on_the_way_.empty()) {
      const auto left = std::max(Clock::duration::zero(), on_the_way_.front().due - Clock::now());
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
      patience = {whole.count(), std::chrono::nanoseconds(left - whole).count()};
    }
    if (::ppoll(&entry, 1, on_the_way_.empty() ? nullptr : &patience, nullptr) < 0 && errno != EINTR)
      throw std::system_error(errno, std::generic_category(), "ppoll");
  }

  void take() {
    std::array<char, kMostBytes> buffer;
    for (;;) {
      const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
      // EIO: the interface is not up yet.
      if (count < 0 && (errno == EAGAIN || errno == EINTR || errno == EIO)) return;
      if (count < 0) throw std::system_error(errno, std::generic_category(), "read");
      std::string bytes(buffer.data(), static_cast<size_t>(count));
      const bool is_ipv4 = bytes.size() >= kHeaderBytes && (static_cast<unsigned char>(bytes[0]) >> 4) == 4;
      if (!is_ipv4 || on_the_way_.size() >= kMostOnTheWay) continue;
      char* const source = bytes.data() + kSource;
      std::swap_ranges(source, source + kAddressBytes, bytes.data() + kDestination);
      on_the_way_.push_back({Clock::now() + one_way_, std::move(bytes)});
    }
  }

  void deliver() {
    while (!on_the_way_.empty() && on_the_way_.front().due <= Clock::now()) {
      // A packet that the kernel refuses is lost: TCP sends it again.
      const std::string& bytes = on_the_way_.front().bytes;
      [[maybe_unused]] const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
      on_the_way_.pop_front();
    }
  }

  std::chrono::microseconds one_way_;
  UniqueFd fd_;
  std::deque<Packet> on_the_way_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view number = argc == 3 ? argv[2] : "";
  long round_trip_ms = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), round_trip_ms);
  if (error != std::errc() || end != number.data() + number.size() || round_trip_ms < 0 ||
      round_trip_ms > kMostMs) {
    std::fputs("usage: bench_link INTERFACE ROUND_TRIP_MS\n", stderr);
    return 64;
  }
  try {
    Link link(argv[1], std::chrono::microseconds(round_trip_ms * 1000 / 2));
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    std::puts("ready");
    std::fflush(stdout);
    link.run();
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "bench_link: %s\n", fault.what());
    return 71;
  }
}
