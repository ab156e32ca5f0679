#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/event_loop.h"
#include "ledger/host_lookup.h"
#include "ledger/redis_reply.h"
#include "ledger/redis_socket.h"
#include "settings/redis_address.h"

namespace bailian {

/// Why a server does not do what it was asked: a sentence for the log, by the word that its error begins
/// with. Of an error of another kind, no more than that word and what is printable of it.
std::string explain_redis_error(std::string_view error);

/// A connection to a Redis server on an event loop: looks the host up, connects, logs in, and does it again
/// with growing pauses after each failure. Commands are answered in their order. Loop thread only.
class RedisConnection {
 public:
  static constexpr std::chrono::seconds kConnectTimeout{2};
  static constexpr std::chrono::seconds kReplyTimeout{2};
  static constexpr std::chrono::milliseconds kFirstPause{50};
  static constexpr std::chrono::milliseconds kLongestPause{2000};

  /// They may call any function of the connection, but must not destroy it.
  struct Events {
    Callback<void()> on_ready;                   // commands may be sent
    Callback<void(const RedisReply&)> on_reply;  // to the oldest command that has none
    Callback<void(const std::string&)> on_lost;  // or never had; no command that waits gets a reply
  };

  /// `address` is copied. Throws std::runtime_error if TLS cannot be set up.
  RedisConnection(EventLoop& loop, const RedisAddress& address, Events events);
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  void connect();
  /// Nothing is called any more until connect().
  void close();
  [[nodiscard]] bool is_ready() const { return phase_ == Phase::kReady; }
  /// Only if is_ready(). Throws std::bad_alloc; then nothing is sent.
  void send(std::span<const std::string_view> words);

 private:
  enum class Phase {
    kClosed,
    kPausing,     // until the next attempt
    kLookingUp,   // the host
    kConnecting,  // TCP and TLS
    kGreeting,    // AUTH, SELECT and PING
    kReady
  };

  void start_attempt();
  void on_looked_up();
  void on_io();
  void greet();
  void take_reply(const RedisReply& reply);
  void take_greeting(const RedisReply& reply);
  void on_timeout();
  void on_exception(const std::exception& error);
  void lose(std::string why);
  void watch();
  void disconnect();

  const RedisAddress address_;
  const Events events_;
  std::optional<RedisTls> tls_;
  Phase phase_ = Phase::kClosed;
  size_t next_address_ = 0;
  std::chrono::milliseconds pause_ = kFirstPause;
  std::optional<RedisSocket> socket_;
  RedisReplyReader reader_;
  std::string out_;
  size_t waiting_ = 0;  // commands without a reply
  HostLookup lookup_;
  IoEvent io_;
  Timer timer_;  // the end of the phase, or of the wait for a reply
};

}  // namespace bailian
