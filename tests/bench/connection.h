#pragma once

#include <netinet/in.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace bailian::bench {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

/// Where requests go. Only http, and HOST is an IPv4 address: the load stays on this machine.
struct Target {
  /// Throws std::invalid_argument.
  explicit Target(const std::string& url);

  sockaddr_in address{};
  std::string host;  // with the port
  std::string path;

  /// The bytes of a request.
  [[nodiscard]] std::string request(const std::string& method, const std::vector<std::string>& headers,
                                    const std::string& body) const;
};

/// Waits for events of its connections.
class Poller {
 public:
  Poller();
  /// Serves the connections that are ready, after waiting at most `patience`, rounded down to whole ms.
  void wait(Clock::duration patience);
  void wait_for(Seconds time) {
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
    while (Clock::now() < until) wait(until - Clock::now());
  }

 private:
  friend class Connection;
  UniqueFd epoll_;
};

/// A TCP connection that sends one request, then passes on the bytes it receives. All connections share one
/// receive buffer.
class Connection {
 public:
  /// `request` must outlive the connection.
  Connection(Poller& poller, const Target& target, std::string_view request);
  virtual ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] bool is_open() const { return static_cast<bool>(fd_); }
  void close();

 protected:
  virtual void on_bytes(std::string_view bytes, Clock::time_point now) = 0;
  /// The peer has closed or refused the connection. Our end is already closed.
  virtual void on_end() = 0;

  void send_again() { send(); }

 private:
  friend class Poller;
  void on_ready(uint32_t events);
  void send();
  void receive();
  void watch(uint32_t events, int operation);

  Poller& poller_;
  UniqueFd fd_;
  std::string_view request_;
  bool is_connected_ = false;
};

}  // namespace bailian::bench
