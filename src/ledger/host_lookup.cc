#include "ledger/host_lookup.h"

#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>
#include <variant>

#include "base/file.h"
#include "base/unique_fd.h"

namespace bailian {
namespace {

SocketAddress to_socket_address(const UnixAddress& address) {
  SocketAddress result;
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  assert(address.path.size() < sizeof local.sun_path);
  address.path.copy(local.sun_path, sizeof local.sun_path - 1);
  std::memcpy(&result.storage, &local, sizeof local);
  result.bytes = sizeof local;
  return result;
}

}  // namespace

// Shared by the loop and the thread, which may outlive it. The thread signals its end through an eventfd, as
// that allocates nothing.
struct HostLookup::Lookup {
  TcpAddress server;
  UniqueFd end{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> has_ended{false};
  std::vector<SocketAddress> addresses;
  std::string error;

  void run() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals are for the loops
    try {
      look_up();
    } catch (const std::exception&) {  // out of memory: the lookup has failed
      addresses.clear();
    }
    has_ended.store(true, std::memory_order_release);
    signal_end();
  }

  void signal_end() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(end.get(), &one, sizeof one);
  }

  void look_up() {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const std::string port = std::to_string(server.port);
    const int code = ::getaddrinfo(server.host.c_str(), port.c_str(), &hints, &found);
    if (code != 0) {
      error = "could not resolve host " + server.host + ": " + ::gai_strerror(code);
      return;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
      SocketAddress& address = addresses.emplace_back();
      std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
      address.bytes = one->ai_addrlen;
    }
    if (addresses.empty()) error = "could not resolve host " + server.host;
  }
};

HostLookup::HostLookup(EventLoop& loop, ListenAddress server, Callback<void()> on_end)
    : server_(std::move(server)), on_end_(on_end), ended_(loop, bind<&HostLookup::take_result>(this)) {}

void HostLookup::start() {
  assert(!lookup_);
  auto lookup = std::make_shared<Lookup>();
  if (!lookup->end) throw_errno("eventfd");
  if (const auto* local = std::get_if<UnixAddress>(&server_)) {
    lookup->addresses.push_back(to_socket_address(*local));
    lookup->has_ended.store(true, std::memory_order_relaxed);
    lookup->signal_end();
  } else {
    lookup->server = std::get<TcpAddress>(server_);
    std::thread([lookup] { lookup->run(); }).detach();
  }
  ended_.watch(lookup->end.get(), IoEvent::kRead);
  lookup_ = std::move(lookup);
}

void HostLookup::take_result() {
  if (!lookup_ || !lookup_->has_ended.load(std::memory_order_acquire)) return;
  ended_.unwatch();
  const auto lookup = std::exchange(lookup_, nullptr);
  addresses_ = std::move(lookup->addresses);
  error_ = std::move(lookup->error);
  if (addresses_.empty() && error_.empty()) error_ = "no memory for a lookup";
  on_end_();
}

}  // namespace bailian
