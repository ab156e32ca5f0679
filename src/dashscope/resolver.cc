#include "dashscope/resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/unique_fd.h"

namespace bailian {
namespace {

// getaddrinfo() reports no time to live. Addresses older than a minute are used while a new lookup runs,
// those older than ten minutes only if it fails.
constexpr std::chrono::minutes kFresh{1};
constexpr std::chrono::minutes kUsable{10};

// Empty for a link-local address (fe80::1%eth0): libcurl rejects a list that has one.
std::string text_of(const addrinfo& address) {
  std::array<char, NI_MAXHOST> text{};
  if (::getnameinfo(address.ai_addr, address.ai_addrlen, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return {};
  if (std::string_view(text.data()).find('%') != std::string_view::npos) return {};
  return address.ai_family == AF_INET6 ? "[" + std::string(text.data()) + "]" : text.data();
}

}  // namespace

// Shared by the loop and the thread, which may outlive the resolver. The thread signals its end through an
// eventfd, as that allocates nothing.
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
    } catch (const std::exception&) {  // out of memory: the lookup has failed
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
      // This name always resolves (RFC 6761, 6.3), even without a hosts file.
      if (host == "localhost") addresses = host + ":" + port + ":127.0.0.1,[::1]";
      error = "Could not resolve host: " + host + ": " + ::gai_strerror(code);
      return;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      const std::string text = text_of(*one);
      if (!text.empty()) addresses += (addresses.empty() ? host + ":" + port + ":" : ",") + text;
    }
    if (addresses.empty()) error = "Could not resolve host: " + host;
  }
};

Resolver::Resolver(EventLoop& loop, std::string host, std::string port, Callback<void()> on_end)
    : host_(std::move(host)),
      port_(std::move(port)),
      on_end_(on_end),
      ended_(loop, bind<&Resolver::take_result>(this)) {}

bool Resolver::is_ready() {
  const auto age = std::chrono::steady_clock::now() - found_at_;
  try {
    if (!lookup_ && (addresses_.empty() || age >= kFresh)) start();
  } catch (const std::exception&) {
    if (addresses_.empty()) throw;
    return true;
  }
  return !addresses_.empty() && age < kUsable;
}

void Resolver::start() {
  auto lookup = std::make_shared<Lookup>();
  if (!lookup->end) throw_errno("eventfd");
  lookup->host = host_;
  lookup->port = port_;
  std::thread([lookup] { lookup->run(); }).detach();
  ended_.watch(lookup->end.get(), IoEvent::kRead);
  lookup_ = std::move(lookup);
}

void Resolver::move_first_to_end() {
  const size_t first = host_.size() + port_.size() + 2;
  const size_t comma = addresses_.find(',');
  if (comma == std::string::npos) return;
  addresses_ = addresses_.substr(0, first) + addresses_.substr(comma + 1) + ',' +
               addresses_.substr(first, comma - first);
}

void Resolver::take_result() {
  assert(lookup_);
  if (!lookup_->has_ended.load(std::memory_order_acquire)) return;
  ended_.unwatch();
  const auto lookup = std::exchange(lookup_, nullptr);
  if (!lookup->addresses.empty()) {
    addresses_ = std::move(lookup->addresses);
    found_at_ = std::chrono::steady_clock::now();
  }
  error_ = std::move(lookup->error);
  on_end_();
}

}  // namespace bailian
