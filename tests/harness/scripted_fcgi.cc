#include "harness/scripted_fcgi.h"

#include <cstdint>
#include <stdexcept>
#include <utility>

#include "harness/fcgi_peer.h"

namespace bailian::e2e {
namespace {

constexpr size_t kHeadBytes = 8;

size_t number_at(std::string_view bytes, size_t at, size_t size) {
  size_t number = 0;
  for (const char byte : bytes.substr(at, size)) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

std::string take(std::string& bytes, size_t size) {
  auto taken = bytes.substr(0, size);
  bytes.erase(0, size);
  return taken;
}

size_t take_length(std::string& bytes) {
  const bool is_long = (static_cast<uint8_t>(bytes.at(0)) & 0x80) != 0;
  return number_at(take(bytes, is_long ? 4 : 1), 0, 4) & 0x7fffffff;
}

}  // namespace

FcgiCall::FcgiCall(Fd socket) : socket_(std::move(socket)) {
  std::string received;
  std::string params;
  auto await = [&](size_t size) {
    while (received.size() < size) {
      const auto more = receive_some(socket_);
      if (more.empty()) throw std::runtime_error("the web server closed within its request");
      received += more;
    }
  };
  for (bool ended = false; !ended;) {
    await(kHeadBytes);
    const auto head = take(received, kHeadBytes);
    const size_t content_bytes = number_at(head, 4, 2);
    const size_t padding = number_at(head, 6, 1);
    await(content_bytes + padding);
    const auto content = take(received, content_bytes);
    received.erase(0, padding);
    if (head[1] == fcgi::kParams) params += content;
    if (head[1] == fcgi::kStdin) body_ += content;
    ended = head[1] == fcgi::kStdin && content.empty();
  }
  while (!params.empty()) {
    const size_t name_bytes = take_length(params);
    const size_t value_bytes = take_length(params);
    const auto name = take(params, name_bytes);
    params_[name] = take(params, value_bytes);
  }
}

void FcgiCall::answer(std::string_view body) {
  send_all(socket_, fcgi::record(fcgi::kStdout, "Content-Type: text/plain\r\n\r\n" + std::string(body)) +
                        fcgi::record(fcgi::kStdout, "") + fcgi::record(fcgi::kEnd, std::string(8, '\0')));
  socket_.close();
}

}  // namespace bailian::e2e
