#include "fcgi_listener.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "log.h"

namespace bailian {
namespace {

constexpr int kAcceptsPerIteration = 64;
// Out of descriptors the socket stays readable; waiting on it would spin.
constexpr std::chrono::milliseconds kAcceptPause{100};
// A broken peer may come again and again.
constexpr int kMaxBadRequestLines = 10;
constexpr std::chrono::seconds kBadRequestWindow{10};

}  // namespace

FcgiListener::FcgiListener(EventLoop& loop, int listening_fd, const FcgiLimits& limits, LoopBoard& board,
                           Metrics& metrics, Handler handler)
    : loop_(loop),
      listening_fd_(listening_fd),
      limits_(limits),
      board_(board),
      metrics_(metrics),
      sent_bytes_(metrics.add_tally(Traffic::kToClients)),
      handler_(std::move(handler)),
      acceptable_(loop, [this](short) { accept_some(); }),
      accept_again_(loop, [this] { accept_again(); }),
      bad_requests_(loop, kMaxBadRequestLines, kBadRequestWindow,
                    [](int left_out) {
                      log(LogLevel::kWarning, "bad_request",
                          fmt::format("{} more lines like this were left out", left_out),
                          {{"left_out", static_cast<double>(left_out)}});
                    }),
      bury_(loop, [this] { bury(); }) {
  acceptable_.watch(listening_fd_, IoEvent::kRead);
}

FcgiListener::~FcgiListener() = default;

void FcgiListener::accept_some() {
  for (int i = 0; i < kAcceptsPerIteration; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    UniqueFd fd(::accept4(listening_fd_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
      log(LogLevel::kError, "accept_failed", std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
      accept_again_.start(kAcceptPause);
      acceptable_.watch(-1, IoEvent::kNothing);
      return;
    }
    const bool local = peer.ss_family == AF_UNIX;
    const int on = 1;
    if (!local) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    try {
      FcgiConnection& connection = connections_.emplace_back(*this, std::move(fd), local);
      connection.set_place(std::prev(connections_.end()));
      board_.connections += 1;
    } catch (const std::exception& error) {
      log(LogLevel::kError, "accept_failed", error.what());
    }
  }
}

// Deaf for good is what it must not be, so it tries until it can.
void FcgiListener::accept_again() {
  try {
    acceptable_.watch(listening_fd_, IoEvent::kRead);
  } catch (const std::exception& error) {
    log(LogLevel::kError, "accept_failed", error.what());
    accept_again_.start(kAcceptPause);
  }
}

void FcgiListener::stop_accepting() {
  accept_again_.cancel();
  acceptable_.watch(-1, IoEvent::kNothing);
}

void FcgiListener::drain(std::function<void()> on_idle) {
  on_idle_ = std::move(on_idle);
  for (FcgiConnection& connection : connections_) connection.drain();
  tell_if_idle();
}

void FcgiListener::cut() {
  for (FcgiConnection& connection : connections_) connection.cut();
}

void FcgiListener::note_bad_request(std::string_view fault) {
  if (!bad_requests_.admit()) return;
  log(LogLevel::kWarning, "bad_request", "a peer does not speak FastCGI as a web server does",
      {{"fault", fault}});
}

void FcgiListener::remove(FcgiConnection& connection) noexcept {
  dead_.splice(dead_.end(), connections_, connection.place());
  bury_.schedule();
}

void FcgiListener::bury() {
  dead_.clear();
  tell_if_idle();
}

void FcgiListener::tell_if_idle() {
  if (draining() && connections_.empty()) on_idle_();
}

}  // namespace bailian
