#include "harness/fcgi_peer.h"

#include <algorithm>
#include <stdexcept>

namespace bailian::e2e {
namespace fcgi {
namespace {

constexpr size_t kLongestContent = 65535;

char byte(size_t number) { return static_cast<char>(number & 0xff); }

std::string length(size_t bytes) {
  if (bytes < 0x80) return {byte(bytes)};
  return {byte((bytes >> 24) | 0x80), byte(bytes >> 16), byte(bytes >> 8), byte(bytes)};
}

// The records of one stream, and the empty one that ends it.
std::string stream(uint8_t type, std::string_view content) {
  std::string records;
  while (!content.empty()) {
    const auto part = content.substr(0, kLongestContent);
    records += record(type, part);
    content.remove_prefix(part.size());
  }
  return records + record(type, "");
}

}  // namespace

std::string record(uint8_t type, std::string_view content, RecordOptions options) {
  std::string bytes{byte(options.version),     byte(type),           byte(options.id >> 8), byte(options.id),
                    byte(content.size() >> 8), byte(content.size()), byte(options.padding), '\0'};
  return bytes.append(content).append(options.padding, '\0');
}

std::string begin(bool keeps_connection, uint16_t role) {
  return record(kBegin,
                std::string{byte(role >> 8), byte(role), byte(keeps_connection ? 1 : 0), 0, 0, 0, 0, 0});
}

std::string name_value(std::string_view name, std::string_view value) {
  return length(name.size()) + length(value.size()) + std::string(name) + std::string(value);
}

Params params_for(std::string_view method, std::string_view path, size_t body_bytes) {
  return {{"QUERY_STRING", ""},
          {"REQUEST_METHOD", std::string(method)},
          {"CONTENT_TYPE", "application/json"},
          {"CONTENT_LENGTH", body_bytes > 0 ? std::to_string(body_bytes) : ""},
          {"SCRIPT_NAME", std::string(path)},
          {"REQUEST_URI", std::string(path)},
          {"DOCUMENT_URI", std::string(path)},
          {"SERVER_PROTOCOL", "HTTP/1.1"},
          {"GATEWAY_INTERFACE", "CGI/1.1"}};
}

std::string params_records(const Params& params) {
  std::string content;
  for (const auto& [name, value] : params) content += name_value(name, value);
  return stream(kParams, content);
}

std::string stdin_records(std::string_view body) { return stream(kStdin, body); }

std::string request(std::string_view method, std::string_view path, std::string_view body,
                    bool keeps_connection) {
  return begin(keeps_connection) + params_records(params_for(method, path, body.size())) +
         stdin_records(body);
}

}  // namespace fcgi

namespace {

// "Status: 404 Not Found\r\nName: value\r\n\r\nbody", where the status line is optional for 200.
Response parse_cgi(std::string_view text) {
  const size_t head_end = text.find("\r\n\r\n");
  if (head_end == text.npos) throw std::runtime_error("no CGI head: " + std::string(text.substr(0, 500)));
  Response response{.status = 200, .headers = {}, .body = std::string(text.substr(head_end + 4))};
  auto head = text.substr(0, head_end + 2);
  while (!head.empty()) {
    const auto line = head.substr(0, head.find("\r\n"));
    const auto colon = line.find(": ");
    if (colon == line.npos) throw std::runtime_error("no header: " + std::string(line));
    response.headers.add(std::string(line.substr(0, colon)), std::string(line.substr(colon + 2)));
    head.remove_prefix(line.size() + 2);
  }
  if (response.headers.count("Status") > 0) response.status = std::stoi(response.headers.get("Status"));
  return response;
}

size_t big_endian(std::string_view bytes) {
  size_t number = 0;
  for (char each : bytes) number = number << 8 | static_cast<uint8_t>(each);
  return number;
}

}  // namespace

std::string FcgiPeer::read_record(uint8_t type) {
  auto record = read_record();
  if (record.type != type) throw std::runtime_error("unexpected record type " + std::to_string(record.type));
  return std::move(record.content);
}

std::string FcgiPeer::read_stdout() {
  auto content = read_record(fcgi::kStdout);
  out_ += content;
  return content;
}

void FcgiPeer::await_end_request(uint8_t protocol_status) {
  Record record = read_record();
  while (record.type != fcgi::kEnd) record = read_record();
  if (record.content.size() != 8 || static_cast<uint8_t>(record.content[4]) != protocol_status)
    throw std::runtime_error("another END_REQUEST than expected");
  out_.clear();
}

FcgiReply FcgiPeer::read_reply() {
  FcgiReply reply{};
  for (auto part = read_stdout(); !part.empty(); part = read_stdout())
    reply.records.push_back(std::move(part));
  const auto end = read_record();
  if (end.type != fcgi::kEnd || end.content.size() != 8) throw std::runtime_error("no END_REQUEST");
  reply.app_status = static_cast<uint32_t>(big_endian(std::string_view(end.content).substr(0, 4)));
  reply.protocol_status = static_cast<uint8_t>(end.content[4]);
  reply.response = parse_cgi(std::exchange(out_, {}));
  return reply;
}

std::string FcgiPeer::received_by_now() const {
  std::string all;
  while (has_input(socket_)) {
    const auto some = receive_some(socket_);
    if (some.empty()) break;
    all += some;
  }
  return all;
}

void FcgiPeer::await_end() {
  while (!receive_some(socket_).empty()) {
  }
}

FcgiPeer::Record FcgiPeer::read_record() {
  const auto head = take(8);
  const auto content_bytes = big_endian(std::string_view(head).substr(4, 2));
  auto content = take(content_bytes);
  take(static_cast<uint8_t>(head[6]));
  return {static_cast<uint8_t>(head[1]), std::move(content)};
}

std::string FcgiPeer::take(size_t bytes) {
  while (received_.size() < bytes) {
    const auto more = receive_some(socket_);
    if (more.empty()) throw std::runtime_error("the responder closed within an answer");
    received_ += more;
  }
  auto taken = received_.substr(0, bytes);
  received_.erase(0, bytes);
  return taken;
}

}  // namespace bailian::e2e
