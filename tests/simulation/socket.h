#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "simulation/world.h"

namespace bailian::simulation {

/// The other end of a socket that the product uses.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void on_accepted() = 0;
  /// The product has received bytes up to `total`, counted from the start of the connection.
  virtual void on_received(uint64_t total) = 0;
  /// The product has received the end of the connection.
  virtual void on_end_received() = 0;
  /// The product has sent bytes.
  virtual void on_sent() = 0;
  /// The product has closed its end. What it has sent can be received only during this call.
  virtual void on_closed() = 0;
  /// The product will send no more.
  virtual void on_shut_down() = 0;
};

/// A connected socket: the product's end and the kernel's buffers.
class Socket final : public File {
 public:
  Socket(Peer& peer, bool is_local, size_t capacity)
      : is_local_(is_local), capacity_(capacity), peer_(peer) {}

  // --- the peer's calls ---

  void send(std::string_view bytes);
  /// Closes the peer's end. The product can still receive what was sent. Then it gets the end of
  /// the connection, or ECONNRESET if `reset` or if the peer has left bytes unread.
  void hang_up(bool reset);
  /// Takes at most `max_bytes` of what the product has sent.
  std::string receive(size_t max_bytes);
  [[nodiscard]] size_t unread_bytes() const { return outbox_.size() - outbox_read_; }

  // --- the product's calls ---

  [[nodiscard]] bool is_readable() const override;
  [[nodiscard]] bool is_writable() const override;
  void on_close() override;
  long receive_some(char* bytes, size_t size);
  long send_some(const char* bytes, size_t size);
  void shut_down_writing();
  [[nodiscard]] bool is_local() const { return is_local_; }
  void accepted() { peer_.on_accepted(); }

 private:
  const bool is_local_;
  const size_t capacity_;
  Peer& peer_;
  std::string inbox_;
  size_t inbox_read_ = 0;
  uint64_t received_ = 0;
  std::string outbox_;
  size_t outbox_read_ = 0;
  bool has_peer_hung_up_ = false;
  bool is_reset_ = false;
};

/// The socket that the product accepts from.
class ListeningSocket final : public File {
 public:
  /// Queues `socket` until the product accepts it.
  void connect(std::unique_ptr<Socket> socket) { backlog_.push_back(std::move(socket)); }
  [[nodiscard]] bool is_readable() const override { return !backlog_.empty(); }
  /// -1 and errno if none can be accepted.
  int accept(bool& is_local);

 private:
  std::vector<std::unique_ptr<Socket>> backlog_;
};

}  // namespace bailian::simulation
