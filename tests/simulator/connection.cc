#include "connection.h"

#include <event2/buffer.h>
#include <event2/http_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>

namespace bailian::simulator {
namespace {

constexpr milliseconds kIdleBeforeClose{50};

// Each event leaves at once.
void set_no_delay(evutil_socket_t socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Linux sends an RST for this; with SO_LINGER, evhttp's shutdown() would send a FIN first.
void send_rst(evutil_socket_t socket) {
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  static_cast<void>(connect(socket, &none, sizeof none));
}

}  // namespace

Connection::Connection(event_base* base, evhttp_connection* connection)
    : connection_(connection),
      stream_(evhttp_connection_get_bufferevent(connection)),
      close_timer_(base, on_close_time, this) {
  set_no_delay(bufferevent_getfd(stream_));
}

bool Connection::is_new_in(unsigned epoch) { return std::exchange(epoch_, epoch) != epoch; }

bool Connection::closes_instead() {
  if (is_closing_) close_timer_.fire();
  return is_closing_;
}

void Connection::begin(evhttp_request* request, std::unique_ptr<Exchange> exchange) {
  request_ = request;
  exchange_ = std::move(exchange);
  bufferevent_getcb(stream_, &evhttp_callbacks_.read, &evhttp_callbacks_.write, &evhttp_callbacks_.event,
                    &evhttp_callbacks_.argument);
  bufferevent_setcb(stream_, nullptr, on_drained, on_event, this);
  bufferevent_enable(stream_, EV_READ | EV_WRITE);
}

void Connection::write(std::string_view bytes) { bufferevent_write(stream_, bytes.data(), bytes.size()); }

std::size_t Connection::backlog_bytes() const { return evbuffer_get_length(bufferevent_get_output(stream_)); }

void Connection::act(Next next) {
  switch (next) {
    case Next::kWait:
      return;
    case Next::kFinishThenClose:
      is_closing_ = true;
      close_timer_.start(kIdleBeforeClose);
      return finish();
    case Next::kFinish:
      return finish();
    case Next::kReset:
      send_rst(bufferevent_getfd(stream_));
      [[fallthrough]];
    case Next::kClose:
      evhttp_connection_free(connection_);
  }
}

void Connection::finish() {
  exchange_.reset();
  bufferevent_setcb(stream_, evhttp_callbacks_.read, evhttp_callbacks_.write, evhttp_callbacks_.event,
                    evhttp_callbacks_.argument);
  // Still set when the body of the request was chunked: evhttp would append a chunk to our answer.
  request_->chunked = 0;
  evhttp_send_reply_end(std::exchange(request_, nullptr));
}

void Connection::on_drained(bufferevent*, void* self) {
  auto& connection = *static_cast<Connection*>(self);
  if (connection.backlog_bytes() == 0) connection.act(connection.exchange_->on_drained());
}

void Connection::on_event(bufferevent*, short what, void* self) {
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) == 0) return;
  auto& connection = *static_cast<Connection*>(self);
  connection.exchange_->on_client_gone();
  evhttp_connection_free(connection.connection_);
}

void Connection::on_close_time(evutil_socket_t, short, void* self) {
  static_cast<Connection*>(self)->act(Next::kClose);
}

}  // namespace bailian::simulator
