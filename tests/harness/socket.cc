#include "harness/socket.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace bailian::e2e {
namespace {

template <typename Result>
Result checked(Result result, const std::string& verb) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), verb);
  return result;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) throw std::runtime_error("socket path too long: " + path);
  std::memcpy(name.sun_path, path.data(), path.size());
  return name;
}

sockaddr_in loopback_address(uint16_t port, uint8_t last_byte = 1) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + last_byte);
  return name;
}

template <typename Name>
const sockaddr* plain(const Name& name) {
  return reinterpret_cast<const sockaddr*>(&name);
}

void await(const Fd& socket, short events, const Deadline& deadline, const char* what) {
  pollfd waiting{socket.get(), events, 0};
  int ready = 0;
  do {
    ready = poll(&waiting, 1, deadline.left_ms());
  } while (ready < 0 && errno == EINTR);
  if (checked(ready, "poll") == 0) throw WaitedInVain(std::string("timed out waiting to ") + what);
}

}  // namespace

Fd connect_to(const Address& address) {
  const bool is_unix = !address.unix_path.empty();
  Fd socket(checked(::socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  if (is_unix) {
    auto name = unix_address(address.unix_path);
    checked(::connect(socket.get(), plain(name), sizeof name), "connect to " + address.unix_path);
  } else {
    if (address.source != Address{}.source) {
      auto source = loopback_address(0, address.source);
      checked(::bind(socket.get(), plain(source), sizeof source), "bind");
    }
    auto name = loopback_address(address.port);
    checked(::connect(socket.get(), plain(name), sizeof name),
            "connect to port " + std::to_string(address.port));
  }
  return socket;
}

LoopbackListener listen_on_loopback(int backlog) {
  Fd socket(checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  auto name = loopback_address(0);
  socklen_t size = sizeof name;
  checked(::bind(socket.get(), plain(name), size), "bind");
  checked(::listen(socket.get(), backlog), "listen");
  checked(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size), "getsockname");
  return {std::move(socket), ntohs(name.sin_port)};
}

Fd listen_on_unix(const std::string& path, int backlog) {
  Fd socket(checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  auto name = unix_address(path);
  checked(::bind(socket.get(), plain(name), sizeof name), "bind " + path);
  checked(::listen(socket.get(), backlog), "listen");
  return socket;
}

void send_datagram(const Address& address, std::string_view bytes) {
  const Fd socket(checked(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  auto name = unix_address(address.unix_path);
  if (name.sun_path[0] == '@') name.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.unix_path.size());
  checked(::sendto(socket.get(), bytes.data(), bytes.size(), 0, plain(name), size), "send a datagram");
}

Fd receive_datagrams_on_unix(const std::string& path) {
  Fd socket(checked(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  auto name = unix_address(path);
  checked(::bind(socket.get(), plain(name), sizeof name), "bind " + path);
  return socket;
}

Fd accept_from(const Fd& listener) {
  await(listener, POLLIN, {}, "accept a connection");
  return Fd(checked(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept"));
}

uint16_t unused_port() { return listen_on_loopback().port; }

void send_all(const Fd& socket, std::string_view bytes) {
  const Deadline deadline;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) {
      await(socket, POLLOUT, deadline, "send");
    } else {
      bytes.remove_prefix(static_cast<size_t>(checked(sent, "send")));
    }
  }
}

std::string receive_some(const Fd& socket, const Deadline& deadline) {
  await(socket, POLLIN, deadline, "receive");
  std::array<char, 16384> buffer;
  const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && errno == ECONNRESET) return {};
  return {buffer.data(), static_cast<size_t>(checked(got, "recv"))};
}

bool has_input(const Fd& socket) {
  pollfd waiting{socket.get(), POLLIN, 0};
  return checked(poll(&waiting, 1, 0), "poll") > 0;
}

void await_read(const Fd& socket) {
  const Deadline deadline;
  for (int unread = 1; unread > 0; sched_yield()) {
    checked(ioctl(socket.get(), SIOCOUTQ, &unread), "ioctl");
    if (deadline.left_ms() == 0) throw std::runtime_error("timed out waiting to be read");
  }
}

bool closes_silently(const Fd& socket) { return receive_some(socket).empty(); }

}  // namespace bailian::e2e
