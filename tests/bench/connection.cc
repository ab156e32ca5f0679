#include "connection.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <system_error>

namespace bailian::bench {
namespace {

std::system_error system_fault(const char* what) { return {errno, std::generic_category(), what}; }

}  // namespace

Target::Target(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const auto slash = url.find('/', kScheme.size());
  if (!url.starts_with(kScheme) || slash == std::string::npos)
    throw std::invalid_argument("no http URL: " + url);
  host = url.substr(kScheme.size(), slash - kScheme.size());
  path = url.substr(slash);
  const auto colon = host.find(':');
  uint16_t port = 80;
  if (colon != std::string::npos) {
    const char* const end = host.data() + host.size();
    const auto [next, error] = std::from_chars(host.data() + colon + 1, end, port);
    if (error != std::errc() || next != end) throw std::invalid_argument("bad port: " + url);
  }
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, host.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    throw std::invalid_argument("no IPv4 address: " + url);
  }
}

std::string Target::request(const std::string& method, const std::vector<std::string>& headers,
                            const std::string& body) const {
  std::string request = method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n";
  for (const std::string& header : headers) request += header + "\r\n";
  if (method == "POST") {
    request += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  return request + "\r\n" + body;
}

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw system_fault("epoll_create1");
}

void Poller::wait(Clock::duration patience) {
  std::array<epoll_event, 256> ready;
  const auto ms =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(patience).count());
  const int count = ::epoll_wait(epoll_.get(), ready.data(), ready.size(), static_cast<int>(ms));
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = ready.at(static_cast<size_t>(i));
    static_cast<Connection*>(event.data.ptr)->on_ready(event.events);
  }
}

Connection::Connection(Poller& poller, const Target& target, std::string_view request)
    : poller_(poller),
      fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      request_(request) {
  if (!fd_) throw system_fault("socket");
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&target.address), sizeof target.address) != 0 &&
      errno != EINPROGRESS) {
    throw system_fault("connect");
  }
  watch(EPOLLOUT, EPOLL_CTL_ADD);
}

void Connection::watch(uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = this;
  if (::epoll_ctl(poller_.epoll_.get(), operation, fd_.get(), &event) != 0) throw system_fault("epoll_ctl");
}

void Connection::close() {
  // A forked child that has not reached its exec holds the socket too, and the poller would continue.
  if (fd_) ::epoll_ctl(poller_.epoll_.get(), EPOLL_CTL_DEL, fd_.get(), nullptr);
  fd_ = {};
}

void Connection::on_ready(uint32_t events) {
  if (!is_connected_) {
    int fault = 0;
    socklen_t size = sizeof fault;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &fault, &size);
    if (fault != 0) {
      close();
      on_end();
      return;
    }
    is_connected_ = true;
    watch(EPOLLIN, EPOLL_CTL_MOD);
    send();
  } else if ((events & ~EPOLLOUT) != 0) {
    receive();
  }
}

// A request of a few hundred bytes always fits into an empty socket buffer.
void Connection::send() {
  if (::send(fd_.get(), request_.data(), request_.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request_.size())) {
    close();
    on_end();
  }
}

void Connection::receive() {
  static std::array<char, 65536> buffer;
  const ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (count > 0) {
    on_bytes({buffer.data(), static_cast<size_t>(count)}, Clock::now());
  } else if (count == 0 || errno != EAGAIN) {
    close();
    on_end();
  }
}

}  // namespace bailian::bench
