#include "server.h"

#include <event2/http.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bailian::simulator {
namespace {

constexpr int kBacklog = 4096;
constexpr ev_ssize_t kMaxHeaderBytes = 64 << 10;
// Far above the 6 MiB of DashScope, so that a large body gets DashScope's answer, not evhttp's.
constexpr ev_ssize_t kMaxBodyBytes = 64 << 20;
constexpr timeval kAcceptPause{0, 50'000};

using AddressList = std::unique_ptr<addrinfo, FreeWith<freeaddrinfo>>;

event_base* new_base() {
  const std::unique_ptr<event_config, FreeWith<event_config_free>> config(
      check_allocated(event_config_new()));
  // Answers paced in milliseconds need a clock that is not rounded to kernel ticks.
  event_config_set_flag(config.get(), EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
  return check_allocated(event_base_new_with_config(config.get()));
}

AddressList resolve(const Options& options) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(options.host.c_str(), options.port.c_str(), &hints, &list);
  if (error != 0) {
    throw ListenError("cannot listen on " + options.host + ":" + options.port + ": " + gai_strerror(error));
  }
  return AddressList(list);
}

std::string url_of(evutil_socket_t socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (getsockname(socket, generic, &length) != 0 ||
      getnameinfo(generic, length, host.data(), host.size(), port.data(), port.size(),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    throw ListenError("cannot tell the address of the listening socket");
  }
  const bool is_v6 = address.ss_family == AF_INET6;
  return std::string("http://") + (is_v6 ? "[" : "") + host.data() + (is_v6 ? "]:" : ":") + port.data();
}

void accept_again(evutil_socket_t, short, void* listener) {
  evconnlistener_enable(static_cast<evconnlistener*>(listener));
}

// Usually out of descriptors: a listening socket that stays readable would make the loop spin. The argument
// is evhttp's, not ours.
void on_accept_error(evconnlistener* listener, void*) {
  evconnlistener_disable(listener);
  event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, accept_again, listener, &kAcceptPause);
}

}  // namespace

Server::Server(const Options& options)
    : base_(new_base()),
      terminate_(check_allocated(evsignal_new(base_.get(), SIGTERM, on_signal, this))),
      interrupt_(check_allocated(evsignal_new(base_.get(), SIGINT, on_signal, this))),
      stats_(base_.get()),
      gate_(stats_),
      dashscope_(base_.get(), options, stats_, gate_),
      control_(base_.get(), dashscope_, stats_, gate_),
      http_(check_allocated(evhttp_new(base_.get()))) {
  event_add(terminate_.get(), nullptr);
  event_add(interrupt_.get(), nullptr);
  evhttp_set_allowed_methods(http_.get(), EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
  evhttp_set_max_headers_size(http_.get(), kMaxHeaderBytes);
  evhttp_set_max_body_size(http_.get(), kMaxBodyBytes);
  evhttp_set_gencb(http_.get(), on_request, this);
  listen(options);
}

void Server::listen(const Options& options) {
  const AddressList addresses = resolve(options);
  evconnlistener* listener = evconnlistener_new_bind(
      base_.get(), nullptr, nullptr, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
      kBacklog, addresses->ai_addr, static_cast<int>(addresses->ai_addrlen));
  if (listener == nullptr) {
    throw ListenError("cannot listen on " + options.host + ":" + options.port + ": " + std::strerror(errno));
  }
  evconnlistener_set_error_cb(listener, on_accept_error);
  if (evhttp_bind_listener(http_.get(), listener) == nullptr) {
    evconnlistener_free(listener);
    throw ListenError("evhttp refuses the listening socket");
  }
  url_ = url_of(evconnlistener_get_fd(listener));
}

void Server::run() { event_base_dispatch(base_.get()); }

void Server::on_signal(evutil_socket_t, short, void* self) {
  event_base_loopbreak(static_cast<Server*>(self)->base_.get());
}

void Server::on_request(evhttp_request* request, void* self) { static_cast<Server*>(self)->handle(request); }

void Server::handle(evhttp_request* request) {
  Connection& connection = connection_of(request);
  if (connection.closes_instead()) return;
  HttpRequest parsed = read_request(request);
  const bool is_control = parsed.path.starts_with("/control/");
  connection.begin(request, is_control ? control_.answer(connection, parsed)
                                       : dashscope_.answer(connection, std::move(parsed)));
}

Connection& Server::connection_of(evhttp_request* request) {
  evhttp_connection* handle = evhttp_request_get_connection(request);
  auto& connection = connections_[handle];
  if (!connection) {
    connection = std::make_unique<Connection>(base_.get(), handle);
    evhttp_connection_set_closecb(handle, on_closed, this);
  }
  return *connection;
}

void Server::on_closed(evhttp_connection* connection, void* self) {
  static_cast<Server*>(self)->connections_.erase(connection);
}

}  // namespace bailian::simulator
