#include "dashscope/resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/unique_fd.h"

namespace bailian {
namespace {

// A lookup names no time to live. What is a minute old is looked up again beside its use; what is older than
// ten is used only where that fails.
constexpr std::chrono::minutes kFresh{1};
constexpr std::chrono::minutes kUsable{10};

// Empty for an address of a link, fe80::1%eth0: libcurl takes no list with one.
std::string text_of(const addrinfo& address) {
  std::array<char, NI_MAXHOST> text{};
  if (::getnameinfo(address.ai_addr, address.ai_addrlen, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return {};
  if (std::string_view(text.data()).find('%') != std::string_view::npos) return {};
  return address.ai_family == AF_INET6 ? "[" + std::string(text.data()) + "]" : text.data();
}

}  // namespace

// What the thread and the loop share. The thread's end is told without taking memory.
struct Resolver::Lookup {
  std::string host;
  std::string port;
  UniqueFd end{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> has_ended{false};
  std::string addresses;
  std::string error;

  void run() noexcept {
    try {
      look_up();
    } catch (const std::exception&) {  // out of memory
      addresses.clear();
    }
    has_ended.store(true, std::memory_order_release);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(end.get(), &one, sizeof one);
  }

  void look_up() {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    if (code != 0) {
      // This name is always found (RFC 6761, 6.3), also where there is no hosts file.
      if (host == "localhost") addresses = host + ":" + port + ":127.0.0.1,[::1]";
      error = ::gai_strerror(code);
      return;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      const std::string text = text_of(*one);
      if (!text.empty()) addresses += (addresses.empty() ? host + ":" + port + ":" : ",") + text;
    }
  }
};

Resolver::Resolver(EventLoop& loop, std::string host, std::string port, Callback<void()> on_end)
    : host_(std::move(host)),
      port_(std::move(port)),
      on_end_(on_end),
      ended_(loop, bind<&Resolver::take_result>(this)) {}

bool Resolver::is_ready() {
  const auto age = std::chrono::steady_clock::now() - found_at_;
  if (!lookup_ && (addresses_.empty() || age >= kFresh) && !try_start()) return true;
  return !addresses_.empty() && age < kUsable;
}

// False when no lookup can be started, but old addresses are there.
bool Resolver::try_start() {
  try {
    start();
    return true;
  } catch (const std::exception&) {
    if (addresses_.empty()) throw;
    return false;
  }
}

void Resolver::start() {
  auto lookup = std::make_shared<Lookup>();
  if (!lookup->end) throw_errno("eventfd");
  lookup->host = host_;
  lookup->port = port_;
  ended_.watch(lookup->end.get(), IoEvent::kRead);
  try {
    std::thread([lookup] { lookup->run(); }).detach();
  } catch (...) {
    ended_.unwatch();
    throw;
  }
  lookup_ = std::move(lookup);
}

void Resolver::take_result() {
  if (!lookup_ || !lookup_->has_ended.load(std::memory_order_acquire)) return;
  ended_.unwatch();
  const auto lookup = std::exchange(lookup_, nullptr);
  if (!lookup->addresses.empty()) {
    addresses_ = std::move(lookup->addresses);
    found_at_ = std::chrono::steady_clock::now();
  }
  error_ = "Could not resolve host: " + host_ + (lookup->error.empty() ? "" : ": " + lookup->error);
  on_end_();
}

}  // namespace bailian
