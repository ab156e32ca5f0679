#pragma once

#include <event2/bufferevent.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "libevent.h"

namespace bailian::simulator {

// The next step of a connection after a request.
enum class Next {
  kWait,             // nothing yet
  kFinish,           // all is written: back to evhttp, for the next request or `Connection: close`
  kFinishThenClose,  // the same, but the idle connection closes a moment later
  kClose,
  kReset,  // RST
};

// Answers one request. Destroyed when the request is done or its client has closed.
class Exchange {
 public:
  virtual ~Exchange() = default;
  // Everything written so far has been sent.
  virtual Next on_drained() = 0;
  // The client closed the connection; the destructor follows.
  virtual void on_client_gone() {}
};

// A TCP connection of evhttp. evhttp reads the requests. The answers are written here, because evhttp cannot
// write a wrong chunk and does not notice a client that closes before the first byte of the answer. Lives
// until evhttp frees its connection: the close callback must destroy it.
class Connection {
 public:
  Connection(event_base* base, evhttp_connection* connection);

  // Whether this was a `close-idle` connection. It takes no second request: one that arrives now was sent
  // before the client saw the close.
  bool closes_instead();
  // Takes over the socket until the exchange is done. The exchange may write in its constructor.
  void begin(evhttp_request* request, std::unique_ptr<Exchange> exchange);
  void write(std::string_view bytes);
  std::size_t backlog_bytes() const;
  // May destroy the connection and its exchange, so it must be the caller's last call.
  void act(Next next);

  // Whether this is its first request to DashScope in `epoch`.
  bool is_new_in(unsigned epoch);

 private:
  struct Callbacks {
    bufferevent_data_cb read = nullptr;
    bufferevent_data_cb write = nullptr;
    bufferevent_event_cb event = nullptr;
    void* argument = nullptr;
  };

  static void on_drained(bufferevent*, void* self);
  static void on_event(bufferevent*, short what, void* self);
  static void on_close_time(evutil_socket_t, short, void* self);
  void finish();

  evhttp_connection* connection_;
  bufferevent* stream_;
  Callbacks evhttp_callbacks_;
  evhttp_request* request_ = nullptr;
  std::unique_ptr<Exchange> exchange_;
  Timer close_timer_;
  bool is_closing_ = false;
  std::optional<unsigned> epoch_;  // of the last request to DashScope
};

}  // namespace bailian::simulator
