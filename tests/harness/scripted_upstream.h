#pragma once

#include <string>
#include <string_view>

#include "harness/socket.h"

namespace bailian::e2e {

// `bytes` as one chunk of a body.
std::string chunk(std::string_view bytes);

// One request to a scripted upstream. The test decides step by step what to send back.
class UpstreamCall {
 public:
  explicit UpstreamCall(Fd socket) : socket_(std::move(socket)) { await_request(); }

  const std::string& head() const { return head_; }
  const std::string& body() const { return body_; }

  void send(std::string_view bytes) const { send_all(socket_, bytes); }
  void send_chunk(std::string_view bytes) const { send(chunk(bytes)); }
  void send_stream_head() const;                // status 200, event stream, chunked
  void send_text(std::string_view text) const;  // one event with this text
  void finish() const;                          // the event that says "stop", and the end of the body
  void await_request();                         // another one on the same connection
  bool has_request() const;                     // or its beginning
  bool has_ended() const;                       // the client has closed the connection
  void await_bytes(size_t count) const;         // of another one, which is not read to its end
  void close() { socket_.close(); }
  void reset();  // closes with RST
  bool is_dropped() const { return closes_silently(socket_); }

 private:
  Fd socket_;
  std::string head_;
  std::string body_;
};

// Stands in for DashScope when a test must decide when each byte is sent. It accepts only in accept().
class ScriptedUpstream {
 public:
  ScriptedUpstream() : listener_(listen_on_loopback()) {}

  std::string base_url() const { return "http://127.0.0.1:" + std::to_string(listener_.port) + "/api/v1"; }
  uint16_t port() const { return listener_.port; }
  // True when a connection waits to be accepted.
  bool is_called() const { return has_input(listener_.fd); }
  UpstreamCall accept() const { return UpstreamCall(accept_from(listener_.fd)); }

 private:
  LoopbackListener listener_;
};

// One event as DashScope frames it.
std::string result_event(std::string_view text, std::string_view finish_reason = "null");

}  // namespace bailian::e2e
