#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "fastcgi/connection.h"
#include "fastcgi/request_reader.h"
#include "telemetry/metrics.h"
#include "telemetry/slow_log.h"
#include "telemetry/status_board.h"

namespace bailian {

struct FcgiLimits {
  size_t max_body_bytes;
  int max_streams;
  Clock::duration client_stall_timeout;
  Clock::duration last_bytes_timeout;  // from the end of the answer until all of it has left
};

/// The connections of all loops. From `soft_max` on a new one takes the place of one that has no answer under
/// way, the longest parked first.
struct ConnectionCount {
  const size_t soft_max;
  std::atomic<size_t> open{0};
};

/// Accepts FastCGI connections on one loop and owns them. Several loops may accept from one socket.
class FcgiListener {
 public:
  /// Answers a request: sends the reply at once and returns nothing, or returns the exchange that will.
  using Handler = std::function<std::unique_ptr<Exchange>(const Request&, ClientStream&)>;
  /// Whether anybody reads the body of such a request.
  using TakesBody = bool (*)(std::string_view method, std::string_view path);

  /// `listening_fd` is not blocking and, like `connections`, `board` and `metrics`, outlives the listener.
  /// Throws std::system_error.
  FcgiListener(EventLoop& loop, int listening_fd, const FcgiLimits& limits, ConnectionCount& connections,
               LoopBoard& board, Metrics& metrics, TakesBody takes_body, Handler handler);
  ~FcgiListener();
  FcgiListener(const FcgiListener&) = delete;
  FcgiListener& operator=(const FcgiListener&) = delete;

  /// For connections from now on, and for the next request of those that are kept.
  void set_limits(const FcgiLimits& limits) { limits_ = limits; }
  /// From now on connections wait but a moment for a further request, and `on_idle` is called once there are
  /// none.
  void drain(std::function<void()> on_idle);
  /// Has every exchange tell its browser that the program ends.
  void cut();
  /// Leaves new connections to whoever else accepts from the socket.
  void stop_accepting();
  /// After stop_accepting(), as if it had not been called.
  void accept_again();

  // For its connections.
  [[nodiscard]] EventLoop& loop() const { return loop_; }
  [[nodiscard]] const FcgiLimits& limits() const { return limits_; }
  [[nodiscard]] LoopBoard& board() const { return board_; }
  [[nodiscard]] bool draining() const { return on_idle_ != nullptr; }
  [[nodiscard]] Metrics& metrics() const { return metrics_; }
  [[nodiscard]] Tally& sent_bytes() const { return sent_bytes_; }
  SlowLog& slow_log() { return slow_log_; }
  FcgiRequestReader& request_reader() { return request_reader_; }
  std::unique_ptr<Exchange> handle(const Request& request, ClientStream& client) {
    return handler_(request, client);
  }
  [[nodiscard]] bool takes_body(std::string_view method, std::string_view path) const {
    return takes_body_(method, path);
  }
  /// A peer that breaks the protocol; logged, limited in rate.
  void note_bad_request(std::string_view fault);
  /// A connection has come to this stage.
  void settle(FcgiConnection& connection, FcgiConnection::Stage stage) noexcept;
  /// Frees a connection at the end of the iteration.
  void remove(FcgiConnection& connection) noexcept;

 private:
  using Connections = std::list<FcgiConnection>;

  void accept_some();
  void add(UniqueFd fd, bool local);
  size_t make_room(size_t wanted) noexcept;
  [[nodiscard]] Connections& at(FcgiConnection::Stage stage) {
    return connections_[static_cast<size_t>(stage)];
  }
  void bury();
  void tell_if_idle();

  EventLoop& loop_;
  const int listening_fd_;
  FcgiLimits limits_;
  ConnectionCount& count_;
  LoopBoard& board_;
  Metrics& metrics_;
  Tally& sent_bytes_;
  const TakesBody takes_body_;
  Handler handler_;
  FcgiRequestReader request_reader_;
  std::function<void()> on_idle_;
  IoEvent acceptable_;
  Timer accept_again_;
  LineLimit bad_requests_;
  LineLimit made_room_;
  SlowLog slow_log_;
  EndOfIteration bury_;
  std::array<Connections, 4> connections_;  // one list for each stage, the longest in it first
};

}  // namespace bailian
