#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/deadline.h"
#include "harness/fd.h"

// Plain sockets for the harness. Every error throws std::runtime_error, which fails the test.
namespace bailian::e2e {

// The deadline passed before the event happened.
struct WaitedInVain : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where a server listens: a unix socket, or a port of 127.0.0.1 when the path is empty.
struct Address {
  std::string unix_path;
  uint16_t port = 0;
  uint8_t source = 1;  // the x of the address 127.0.0.x from which a port is connected to
};

Fd connect_to(const Address& address);

struct LoopbackListener {
  Fd fd;
  uint16_t port;
};
LoopbackListener listen_on_loopback(int backlog = 64);
Fd listen_on_unix(const std::string& path, int backlog = 64);
// To a unix socket. A path that starts with @ is an abstract name.
void send_datagram(const Address& address, std::string_view bytes);
Fd receive_datagrams_on_unix(const std::string& path);
Fd accept_from(const Fd& listener);

// A port of 127.0.0.1 on which nothing listens.
uint16_t unused_port();

void send_all(const Fd& socket, std::string_view bytes);

// Waits for bytes and returns those that have arrived. Empty at the end of the connection, also after a
// reset.
std::string receive_some(const Fd& socket, const Deadline& deadline = {});

// True when there is something to receive or to accept, now.
bool has_input(const Fd& socket);

// Waits until the peer has read everything that was sent over this unix socket.
void await_read(const Fd& socket);

// True when the peer closes without sending anything more.
bool closes_silently(const Fd& socket);

}  // namespace bailian::e2e
