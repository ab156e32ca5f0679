#include "ledger/redis_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.h"

namespace bailian {
namespace {

struct KnownError {
  std::string_view word;
  std::string_view meaning;
};
constexpr std::array kKnownErrors = {
    KnownError{"NOAUTH", "the server wants a password, and LEDGER has none"},
    KnownError{"WRONGPASS", "the server refuses user or password of LEDGER"},
    KnownError{"NOPERM", "the server's user lacks a permission (deploy/scaling.md lists them)"},
    KnownError{"WRONGTYPE", "the keys {bailian}:* of this database hold something else"},
    KnownError{"READONLY", "the server is a read-only replica: LEDGER must name the primary"},
    KnownError{"LOADING", "the server is still loading its data"},
    KnownError{"BUSY", "the server is busy with another script"},
    KnownError{"OOM", "the server is out of memory (maxmemory)"},
    KnownError{"MISCONF", "the server takes no writes, because it cannot save them"},
    KnownError{"MASTERDOWN", "the server has lost its primary"},
    KnownError{"NOREPLICAS", "the server takes no writes without its replicas"},
    KnownError{"CLUSTERDOWN", "the server's cluster is down"},
    KnownError{"MOVED", "the keys {bailian}:* are on another node of the cluster: LEDGER must name that one"},
    KnownError{"ASK", "the keys {bailian}:* are moving to another node of the cluster"},
    KnownError{"BAILIANVERSION", "the ledger was written by a newer version"},
};

constexpr size_t kMaxQuotedBytes = 160;

std::string host_of(const RedisAddress& address) {
  const auto* tcp = std::get_if<TcpAddress>(&address.server);
  return tcp != nullptr ? tcp->host : std::string();
}

}  // namespace

std::string explain_redis_error(std::string_view error) {
  std::string_view rest = error;
  const std::string word = printable(split_off(rest, ' ').substr(0, 40));
  for (const auto& known : kKnownErrors) {
    if (word == known.word) return fmt::format("{}: {}", word, known.meaning);
  }
  return printable(error.substr(0, kMaxQuotedBytes));
}

RedisConnection::RedisConnection(EventLoop& loop, const RedisAddress& address, Events events)
    : address_(address),
      events_(events),
      lookup_(loop, address.server, bind<&RedisConnection::on_looked_up>(this)),
      io_(loop, bind<&RedisConnection::on_io>(this), bind<&RedisConnection::on_exception>(this)),
      timer_(loop, bind<&RedisConnection::on_timeout>(this), bind<&RedisConnection::on_exception>(this)) {
  if (address_.is_tls) tls_.emplace();
}

void RedisConnection::connect() {
  assert(phase_ == Phase::kClosed);
  phase_ = Phase::kPausing;
  timer_.start(std::chrono::milliseconds(0));
}

void RedisConnection::close() {
  disconnect();
  phase_ = Phase::kClosed;
}

void RedisConnection::send(std::span<const std::string_view> words) {
  assert(is_ready());
  const size_t before = out_.size();
  try {
    append_redis_command(out_, words);
  } catch (...) {
    out_.resize(before);
    throw;
  }
  if (waiting_++ == 0) timer_.start(kReplyTimeout);
  watch();
}

void RedisConnection::start_attempt() {
  phase_ = Phase::kLookingUp;
  timer_.start(kConnectTimeout);
  if (!lookup_.is_under_way()) lookup_.start();
}

void RedisConnection::on_looked_up() {
  if (phase_ != Phase::kLookingUp) return;
  try {
    const auto& addresses = lookup_.addresses();
    if (addresses.empty()) return lose(lookup_.error());
    phase_ = Phase::kConnecting;
    timer_.start(kConnectTimeout);
    const SocketAddress& address = addresses[next_address_++ % addresses.size()];
    socket_.emplace(address, tls_ ? &*tls_ : nullptr, host_of(address_));
    watch();
  } catch (const std::exception& error) {
    lose(error.what());
  }
}

void RedisConnection::on_io() {
  if (!socket_) return;
  if (phase_ == Phase::kConnecting) {
    if (!socket_->advance()) return watch();
    greet();
  }
  std::string bytes;
  const bool is_open = socket_->read(bytes);
  reader_.feed(bytes);
  while (const auto reply = reader_.next()) {
    take_reply(*reply);
    if (!socket_) return;
  }
  if (!reader_.fault().empty()) return lose("not a Redis server: " + reader_.fault());
  if (!is_open) return lose("the server has closed the connection");
  socket_->write(out_);
  watch();
}

void RedisConnection::greet() {
  phase_ = Phase::kGreeting;
  const std::string database = std::to_string(address_.database);
  waiting_ = 1;
  if (!address_.password.empty()) {
    ++waiting_;
    if (address_.user.empty()) {
      append_redis_command(out_, {"AUTH", address_.password});
    } else {
      append_redis_command(out_, {"AUTH", address_.user, address_.password});
    }
  }
  if (address_.database != 0) {
    ++waiting_;
    append_redis_command(out_, {"SELECT", database});
  }
  append_redis_command(out_, {"PING"});
}

void RedisConnection::take_reply(const RedisReply& reply) {
  if (waiting_ == 0) return lose("not a Redis server: it answers what was not asked");
  --waiting_;
  if (phase_ == Phase::kGreeting) return take_greeting(reply);
  if (waiting_ > 0) {
    timer_.start(kReplyTimeout);
  } else {
    timer_.cancel();
  }
  if (!reply.is_error()) pause_ = kFirstPause;
  events_.on_reply(reply);
}

void RedisConnection::take_greeting(const RedisReply& reply) {
  if (reply.is_error()) {
    // An old server repeats the password in its error: only what is known is logged.
    const std::string why = explain_redis_error(reply.text);
    const bool is_known = why.find(": ") != std::string::npos && !reply.text.starts_with("ERR");
    return lose(is_known ? why : "the server refuses AUTH, SELECT or PING");
  }
  if (waiting_ > 0) return;
  timer_.cancel();
  phase_ = Phase::kReady;
  events_.on_ready();
}

void RedisConnection::on_timeout() {
  switch (phase_) {
    case Phase::kClosed:
      return;
    case Phase::kPausing:
      return start_attempt();
    case Phase::kLookingUp:
      return lose("looking up the host takes too long");
    case Phase::kConnecting:
    case Phase::kGreeting:
      return lose("connecting takes too long");
    case Phase::kReady:
      return lose("the server does not answer");
  }
}

void RedisConnection::on_exception(const std::exception& error) { lose(error.what()); }

// `why` is a copy: it may be a part of what is about to be destroyed.
void RedisConnection::lose(std::string why) {  // NOLINT(performance-unnecessary-value-param)
  disconnect();
  phase_ = Phase::kPausing;
  timer_.start(pause_);
  pause_ = std::min(2 * pause_, kLongestPause);
  events_.on_lost(why);
}

void RedisConnection::watch() {
  const bool has_output = phase_ >= Phase::kGreeting && !out_.empty();
  io_.watch(socket_->fd(), static_cast<short>(socket_->interest() | (has_output ? IoEvent::kWrite : 0)));
}

void RedisConnection::disconnect() {
  timer_.cancel();
  io_.unwatch();
  socket_.reset();
  reader_ = {};
  out_.clear();
  waiting_ = 0;
}

}  // namespace bailian
