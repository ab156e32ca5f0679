#include "harness/scripted_upstream.h"

#include <sys/socket.h>

#include <sstream>
#include <stdexcept>

#include "harness/json.h"

namespace bailian::e2e {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";

size_t content_length_in(const std::string& head) {
  constexpr std::string_view kName = "Content-Length: ";
  const size_t start = head.find(kName);
  return start == std::string::npos ? 0 : std::stoul(head.substr(start + kName.size()));
}

}  // namespace

std::string chunk(std::string_view bytes) {
  std::ostringstream framed;
  framed << std::hex << bytes.size() << "\r\n" << bytes << "\r\n";
  return framed.str();
}

void UpstreamCall::await_request() {
  std::string received;
  while (received.find(kHeadEnd) == std::string::npos) {
    const auto more = receive_some(socket_);
    if (more.empty()) throw std::runtime_error("the responder sends no further request");
    received += more;
  }
  head_ = received.substr(0, received.find(kHeadEnd) + kHeadEnd.size());
  body_ = received.substr(head_.size());
  while (body_.size() < content_length_in(head_)) body_ += receive_some(socket_);
}

bool UpstreamCall::has_request() const {
  char first = 0;
  return ::recv(socket_.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool UpstreamCall::has_ended() const {
  char first = 0;
  return ::recv(socket_.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void UpstreamCall::await_bytes(size_t count) const {
  for (size_t received = 0; received < count;) {
    const auto more = receive_some(socket_);
    if (more.empty()) throw std::runtime_error("the responder sends no further request");
    received += more.size();
  }
}

void UpstreamCall::reset() {
  const linger at_once{1, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

void UpstreamCall::send_stream_head() const {
  send(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
}

void UpstreamCall::send_text(std::string_view text) const { send_chunk(result_event(text)); }

void UpstreamCall::finish() const {
  send_chunk(result_event("", "stop"));
  send("0\r\n\r\n");
}

std::string result_event(std::string_view text, std::string_view finish_reason) {
  std::string event =
      "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"session_id\":\"s1\",\"finish_reason\":\"";
  event.append(finish_reason).append("\",\"text\":").append(json_string(text));
  return event.append(
      "},\"usage\":{\"models\":[{\"input_tokens\":3,\"output_tokens\":5,\"model_id\":\"m\"}]},"
      "\"request_id\":\"u1\"}\n\n");
}

}  // namespace bailian::e2e
