#include "fastcgi/listener.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace bailian {
namespace {

constexpr int kAcceptsPerIteration = 64;
// Out of descriptors so many are got at once: a chat needs one for the upstream too.
constexpr size_t kRoomAtOnce = 16;
constexpr std::chrono::seconds kMadeRoomWindow{10};
// Where there is no room to be made the socket stays readable; waiting on it would spin.
constexpr std::chrono::milliseconds kAcceptPause{100};
// A broken peer may come again and again.
constexpr int kMaxBadRequestLines = 10;
constexpr std::chrono::seconds kBadRequestWindow{10};

bool is_readable(int fd) {
  pollfd readable = {fd, POLLIN, 0};
  return ::poll(&readable, 1, 0) != 0;
}

}  // namespace

FcgiListener::FcgiListener(EventLoop& loop, int listening_fd, const FcgiLimits& limits,
                           ConnectionCount& connections, LoopBoard& board, Metrics& metrics, TakesBody takes,
                           Handler handler)
    : loop_(loop),
      listening_fd_(listening_fd),
      limits_(limits),
      count_(connections),
      board_(board),
      metrics_(metrics),
      sent_bytes_(metrics.add_tally(Traffic::kToClients)),
      takes_body_(takes),
      handler_(std::move(handler)),
      acceptable_(loop, bind<&FcgiListener::accept_some>(this)),
      accept_again_(loop, bind<&FcgiListener::accept_again>(this)),
      bad_requests_(loop, kMaxBadRequestLines, kBadRequestWindow,
                    [](int left_out) {
                      log(LogLevel::kWarning, "bad_request",
                          fmt::format("{} more lines like this were left out", left_out),
                          {{"left_out", static_cast<double>(left_out)}});
                    }),
      made_room_(loop, 1, kMadeRoomWindow,
                 [](int left_out) {
                   log(LogLevel::kWarning, "connections_closed",
                       "more idle connections were closed to make room",
                       {{"closed", static_cast<double>(left_out)}});
                 }),
      slow_log_(loop),
      bury_(loop, bind<&FcgiListener::bury>(this)) {
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
      const int error = errno;
      if (!is_readable(listening_fd_)) return;  // without a descriptor accept4() fails before it looks
      // They are free from the next iteration on, which accepts again.
      if ((error == EMFILE || error == ENFILE) && make_room(kRoomAtOnce) > 0) return;
      log(LogLevel::kError, "accept_failed", std::strerror(error));  // NOLINT(concurrency-mt-unsafe)
      accept_again_.start(kAcceptPause);
      acceptable_.unwatch();
      return;
    }
    const bool local = peer.ss_family == AF_UNIX;
    const int on = 1;
    if (!local) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (count_.open >= count_.soft_max) make_room(1);
    add(std::move(fd), local);
  }
}

void FcgiListener::add(UniqueFd fd, bool local) {
  constexpr auto kFirst = FcgiConnection::Stage::kRequest;
  try {
    FcgiConnection& connection = at(kFirst).emplace_back(*this, std::move(fd), local);
    connection.set_place(kFirst, std::prev(at(kFirst).end()));
    count_.open += 1;
    board_.connections += 1;
  } catch (const std::exception& error) {
    log(LogLevel::kError, "accept_failed", error.what());
  }
}

// How many connections it has closed: those that have no answer under way, the longest parked first.
size_t FcgiListener::make_room(size_t wanted) noexcept {
  using Stage = FcgiConnection::Stage;
  size_t made = 0;
  for (const Stage stage : {Stage::kParked, Stage::kRequest}) {
    for (; made < wanted && !at(stage).empty(); ++made) {
      FcgiConnection& connection = at(stage).front();
      connection.make_room();
      remove(connection);
    }
  }
  try {
    for (size_t i = 0; i < made; ++i) {
      if (made_room_.admit()) {
        log(LogLevel::kWarning, "connections_closed",
            "idle connections were closed to make room. If only the web server "
            "connects here, raise LimitNOFILE (ulimit -n)",
            {{"open", static_cast<double>(count_.open)}});
      }
    }
  } catch (const std::exception&) {  // out of memory: like any log line it is lost
  }
  return made;
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
  acceptable_.unwatch();
}

void FcgiListener::drain(std::function<void()> on_idle) {
  on_idle_ = std::move(on_idle);
  for (Connections& stage : connections_) {
    for (FcgiConnection& connection : stage) connection.drain();
  }
  tell_if_idle();
}

void FcgiListener::cut() {
  for (FcgiConnection& connection : at(FcgiConnection::Stage::kAnswer)) connection.cut();
}

void FcgiListener::note_bad_request(std::string_view fault) {
  if (!bad_requests_.admit()) return;
  log(LogLevel::kWarning, "bad_request", "a peer does not speak FastCGI as a web server does",
      {{"fault", fault}});
}

void FcgiListener::settle(FcgiConnection& connection, FcgiConnection::Stage stage) noexcept {
  at(stage).splice(at(stage).end(), at(connection.stage()), connection.place());
  connection.set_place(stage, connection.place());
}

void FcgiListener::remove(FcgiConnection& connection) noexcept {
  settle(connection, FcgiConnection::Stage::kGone);
  bury_.schedule();
}

void FcgiListener::bury() {
  Connections& gone = at(FcgiConnection::Stage::kGone);
  count_.open -= gone.size();
  gone.clear();
  tell_if_idle();
}

void FcgiListener::tell_if_idle() {
  const bool is_idle = std::all_of(connections_.begin(), connections_.end(),
                                   [](const Connections& stage) { return stage.empty(); });
  if (draining() && is_idle) on_idle_();
}

}  // namespace bailian
