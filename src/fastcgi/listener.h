#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>

#include "base/event_loop.h"
#include "base/rate_limiter.h"
#include "base/unique_fd.h"
#include "fastcgi/connection.h"
#include "fastcgi/context.h"

namespace bailian {

/// Counts the connections of all loops. When there are `soft_max`, a new one replaces those that are idle:
/// without an answer in progress or bytes to read, the longest parked first. Those that were opened a moment
/// ago are spared, unless there are `hard_max`.
struct ConnectionCount {
  const size_t soft_max;
  const size_t hard_max = SIZE_MAX;
  std::atomic<size_t> open{0};
};

/// Accepts FastCGI connections on one loop and owns them. Several loops may accept from one socket.
class FcgiListener {
 public:
  /// `listening_fd` does not block. `loop`, `connections`, `board` and `metrics` must outlive the listener.
  /// Throws std::system_error.
  FcgiListener(EventLoop& loop, int listening_fd, const FcgiLimits& limits, ConnectionCount& connections,
               LoopBoard& board, Metrics& metrics, FcgiHandler handler);
  FcgiListener(const FcgiListener&) = delete;
  FcgiListener& operator=(const FcgiListener&) = delete;

  /// For new connections, and for the next request of those that are kept.
  void set_limits(const FcgiLimits& limits) { context_.limits = limits; }
  /// Connections close after their answer, or soon if none is in progress. `on_idle` is called once there
  /// are none.
  void drain(std::function<void()> on_idle);
  /// Every exchange ends its answer now, and those that begin later in this iteration at its end.
  void abort_exchanges() noexcept;
  /// Leaves new connections to the other processes and loops that accept from the socket.
  void stop_accepting() noexcept;
  /// Undoes stop_accepting().
  void accept_again();

 private:
  using Connections = std::list<FcgiConnection>;

  void accept_some();
  [[nodiscard]] UniqueFd accept_one(bool& is_local) const;
  void on_accept_error(int error);
  void on_exception(const std::exception& error) noexcept;
  void add(UniqueFd fd, bool is_local);
  void make_room_for_one();
  size_t make_room(size_t wanted, Clock::duration idle);
  void before_enter(FcgiConnection& connection, FcgiState next);
  [[nodiscard]] Connections& at(FcgiState state) { return connections_[static_cast<size_t>(state)]; }
  void destroy_closed();
  void notify_if_idle();

  const int listening_fd_;
  ConnectionCount& count_;
  FcgiContext context_;
  std::function<void()> on_idle_;
  IoEvent acceptable_;
  Timer accept_again_;
  RateLimiter closed_lines_;
  EndOfIteration destroy_closed_;
  // One list for each state, ordered by the time in it, the longest first.
  std::array<Connections, static_cast<size_t>(FcgiState::kCount)> connections_;
};

}  // namespace bailian
