#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "connection.h"
#include "control.h"
#include "dashscope.h"
#include "gate.h"
#include "libevent.h"
#include "options.h"
#include "stats.h"

namespace bailian::simulator {

class ListenError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The whole program on one loop. Members depend on those above them.
class Server {
 public:
  // Listens when it returns. Throws ListenError.
  explicit Server(const Options& options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // http://HOST:PORT with the real port.
  const std::string& url() const { return url_; }
  // Until SIGTERM or SIGINT.
  void run();

 private:
  void listen(const Options& options);
  void handle(evhttp_request* request);
  Connection& connection_of(evhttp_request* request);

  static void on_request(evhttp_request* request, void* self);
  static void on_closed(evhttp_connection* connection, void* self);
  static void on_signal(evutil_socket_t, short, void* self);

  EventBase base_;
  Event terminate_;
  Event interrupt_;
  Stats stats_;
  Gate gate_;
  DashScope dashscope_;
  Control control_;
  std::unordered_map<evhttp_connection*, std::unique_ptr<Connection>> connections_;
  EventHttp http_;
  std::string url_;
};

}  // namespace bailian::simulator
