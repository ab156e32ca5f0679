#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace bailian {

inline UniqueFd listen_on_loopback(int backlog) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), backlog) != 0)
    throw std::runtime_error("no port of 127.0.0.1 to listen on");
  return fd;
}

inline sockaddr_in address_of(const UniqueFd& listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return address;
}

inline std::string base_url_of(const UniqueFd& listener) {
  return "http://127.0.0.1:" + std::to_string(ntohs(address_of(listener).sin_port)) + "/api/v1";
}

/// Stands in for DashScope on the event loop of the test: each complete request gets the next reply of the
/// script. send() and close() act on the connection of the latest request.
class LoopUpstream {
 public:
  struct Reply {
    std::string bytes;
    bool closes = false;
  };

  explicit LoopUpstream(EventLoop& loop)
      : loop_(loop), listener_(listen_on_loopback(16)), acceptable_(loop, bind<&LoopUpstream::accept>(this)) {
    acceptable_.watch(listener_.get(), IoEvent::kRead);
  }

  std::vector<Reply> script;              // an empty reply says nothing
  std::function<void()> on_request;       // after the reply
  std::function<void()> on_disconnected;  // by the peer

  [[nodiscard]] std::string base_url() const { return base_url_of(listener_); }
  [[nodiscard]] size_t requests() const { return requests_; }
  [[nodiscard]] const std::string& last_request() const { return last_request_; }
  [[nodiscard]] size_t connections() const { return connections_.size(); }

  /// False when the connection does not accept all of it.
  bool send(std::string_view bytes) const {
    return ::send(current_->fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  void close() {
    current_->readable.unwatch();
    current_->fd = UniqueFd();
  }

 private:
  struct Connection {
    Connection(LoopUpstream& upstream, int accepted)
        : owner(upstream), fd(accepted), readable(upstream.loop_, bind<&Connection::receive>(this)) {
      readable.watch(fd.get(), IoEvent::kRead);
    }

    void receive() {
      char bytes[4096];
      const ssize_t size = ::recv(fd.get(), bytes, sizeof bytes, 0);
      if (size <= 0) {
        readable.unwatch();
        if (owner.on_disconnected) owner.on_disconnected();
        return;
      }
      received.append(bytes, static_cast<size_t>(size));
      const size_t head_end = received.find("\r\n\r\n");
      const size_t length_at = received.find("Content-Length: ");
      if (head_end == std::string::npos) return;
      if (!received.starts_with("HEAD ")) {
        if (length_at == std::string::npos) return;
        if (received.size() < head_end + 4 + std::stoul(received.substr(length_at + 16))) return;
      }
      owner.last_request_ = std::exchange(received, {});
      owner.answer(*this);
    }

    LoopUpstream& owner;
    UniqueFd fd;
    IoEvent readable;
    std::string received;
  };

  void accept() {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) connections_.push_back(std::make_unique<Connection>(*this, fd));
  }

  void answer(Connection& connection) {
    current_ = &connection;
    const Reply reply = requests_ < script.size() ? script[requests_] : Reply();
    ++requests_;
    if (!send(reply.bytes)) throw std::runtime_error("the connection does not take a whole reply");
    if (reply.closes) close();
    if (on_request) on_request();
  }

  EventLoop& loop_;
  UniqueFd listener_;
  IoEvent acceptable_;
  std::vector<std::unique_ptr<Connection>> connections_;
  Connection* current_ = nullptr;
  size_t requests_ = 0;
  std::string last_request_;
};

}  // namespace bailian
