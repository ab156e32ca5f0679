#include "fastcgi/listener.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/log.h"

namespace bailian {
namespace {

constexpr int kAcceptsPerIteration = 64;
// Connections closed at once when descriptors run out: a chat needs one for the upstream too.
constexpr size_t kRoomAtOnce = 16;
// The web server connects and then sends its request, but may be interrupted in between.
constexpr std::chrono::milliseconds kMinIdle{100};
constexpr std::chrono::seconds kLinesWindow{10};
constexpr int kMaxBadRequestLines = 10;  // a broken peer may connect repeatedly
// If no descriptor can be freed, the socket stays readable, and the loop would spin.
constexpr std::chrono::milliseconds kAcceptPause{100};

bool is_readable(int fd) {
  pollfd readable = {fd, POLLIN, 0};
  return ::poll(&readable, 1, 0) != 0;
}

void log_closed(int more) {
  log(LogLevel::kWarning, "connections_closed", "more idle connections were closed to make room",
      {{"closed", static_cast<double>(more)}});
}

void log_bad_requests(int more) {
  log(LogLevel::kWarning, "bad_request", fmt::format("{} more lines like this were left out", more),
      {{"left_out", static_cast<double>(more)}});
}

}  // namespace

FcgiListener::FcgiListener(EventLoop& loop, int listening_fd, const FcgiLimits& limits,
                           ConnectionCount& connections, LoopBoard& board, Metrics& metrics,
                           FcgiHandler handler)
    : listening_fd_(listening_fd),
      count_(connections),
      context_{.loop = loop,
               .limits = limits,
               .handler = std::move(handler),
               .board = board,
               .metrics = metrics,
               .sent_bytes = metrics.add_tally(Traffic::kToClients),
               .slow_log = SlowLog(loop),
               .bad_requests = {loop, kMaxBadRequestLines, kLinesWindow, log_bad_requests},
               .before_enter = bind<&FcgiListener::before_enter>(this)},
      acceptable_(loop, bind<&FcgiListener::accept_some>(this), bind<&FcgiListener::on_exception>(this)),
      accept_again_(loop, bind<&FcgiListener::accept_again>(this), bind<&FcgiListener::on_exception>(this)),
      closed_lines_(loop, 1, kLinesWindow, log_closed),
      destroy_closed_(loop, bind<&FcgiListener::destroy_closed>(this)) {
  acceptable_.watch(listening_fd_, IoEvent::kRead);
}

void FcgiListener::accept_some() {
  for (int i = 0; i < kAcceptsPerIteration; ++i) {
    bool is_local = false;
    UniqueFd fd = accept_one(is_local);
    if (fd) {
      make_room_for_one();
      add(std::move(fd), is_local);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
      return on_accept_error(errno);
    }
  }
}

UniqueFd FcgiListener::accept_one(bool& is_local) const {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  UniqueFd fd(::accept4(listening_fd_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  if (!fd) return fd;
  is_local = peer.ss_family == AF_UNIX;
  const int on = 1;
  if (!is_local) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void FcgiListener::on_accept_error(int error) {
  if (!is_readable(listening_fd_)) return;  // without a free descriptor accept4() fails before it looks
  // The descriptors are free from the next iteration on, which accepts again.
  if ((error == EMFILE || error == ENFILE) && make_room(kRoomAtOnce, {}) > 0) return;
  accept_again_.start(kAcceptPause);
  acceptable_.unwatch();
  throw std::system_error(error, std::generic_category(), "accept");
}

// The socket is still watched, or accept_again_ runs: the listener recovers by itself.
void FcgiListener::on_exception(const std::exception& error) noexcept {
  log(LogLevel::kError, "accept_failed", error.what());
}

void FcgiListener::add(UniqueFd fd, bool is_local) {
  constexpr auto kFirst = FcgiState::kReading;
  FcgiConnection& connection = at(kFirst).emplace_back(context_, std::move(fd), is_local);
  assert(connection.state() == kFirst);
  connection.set_handle(std::prev(at(kFirst).end()));
  count_.open += 1;
  context_.board.connections += 1;
}

void FcgiListener::make_room_for_one() {
  const size_t open = count_.open - at(FcgiState::kClosed).size();
  if (open < count_.soft_max) return;
  make_room(std::min(kRoomAtOnce, open - count_.soft_max + 1),
            open < count_.hard_max ? kMinIdle : Clock::duration::zero());
}

// Closes connections that wait for their peer, have no answer in progress, and have been in their state for
// `idle`, the longest parked first. Returns how many.
size_t FcgiListener::make_room(size_t wanted, Clock::duration idle) {
  const auto idle_since = Clock::now() - idle;
  size_t closed = 0;
  for (const FcgiState state : {FcgiState::kParked, FcgiState::kReading}) {
    Connections& waiting = at(state);
    for (auto next = waiting.begin(); closed < wanted && next != waiting.end();) {
      FcgiConnection& connection = *next++;
      if (connection.entered_at() > idle_since) break;
      if (is_readable(connection.fd())) continue;
      connection.abort();
      ++closed;
      if (!closed_lines_.admit()) continue;
      log(LogLevel::kWarning, "connections_closed",
          "idle connections were closed to make room. If only the web server "
          "connects here, raise LimitNOFILE (ulimit -n)",
          {{"open", static_cast<double>(count_.open)}});
    }
  }
  return closed;
}

// The timer runs until the socket is watched, so that a failure is followed by another attempt.
void FcgiListener::accept_again() {
  accept_again_.start(kAcceptPause);
  acceptable_.watch(listening_fd_, IoEvent::kRead);
  accept_again_.cancel();
}

void FcgiListener::stop_accepting() noexcept {
  accept_again_.cancel();
  acceptable_.unwatch();
}

void FcgiListener::drain(std::function<void()> on_idle) {
  on_idle_ = std::move(on_idle);
  context_.draining = true;
  for (Connections& in_state : connections_) {
    for (FcgiConnection& connection : in_state) connection.drain();
  }
  notify_if_idle();
}

void FcgiListener::abort_exchanges() noexcept {
  context_.stopping = true;
  Connections& answering = at(FcgiState::kAnswering);
  for (auto next = answering.begin(); next != answering.end();) (next++)->stop();
}

void FcgiListener::before_enter(FcgiConnection& connection, FcgiState next) {
  at(next).splice(at(next).end(), at(connection.state()), connection.handle());
  if (next == FcgiState::kClosed) destroy_closed_.schedule();
}

void FcgiListener::destroy_closed() {
  Connections& closed = at(FcgiState::kClosed);
  assert(count_.open >= closed.size());
  count_.open -= closed.size();
  closed.clear();
  notify_if_idle();
}

void FcgiListener::notify_if_idle() {
  const auto is_empty = [](const Connections& in_state) { return in_state.empty(); };
  if (context_.draining && std::ranges::all_of(connections_, is_empty)) on_idle_();
}

}  // namespace bailian
