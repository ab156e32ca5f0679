#include "harness/browser.h"

#include <strings.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace bailian::e2e {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kEventEnd = "\n\n";

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string wire_text(const HttpRequest& request) {
  std::string text = request.method + " " + request.path + " HTTP/1.1\r\n";
  if (request.headers.count("Host") == 0) text += "Host: chat.example\r\n";
  for (const auto& [name, value] : request.headers)
    text.append(name).append(": ").append(value).append(kLineEnd);
  if ((!request.body.empty() || request.method == "POST") && request.headers.count("Transfer-Encoding") == 0)
    text.append("Content-Length: ").append(std::to_string(request.body.size())).append(kLineEnd);
  return text.append(kLineEnd).append(request.body);
}

size_t parse_number(std::string_view digits, int base) {
  size_t number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc() || end == digits.data())
    throw std::runtime_error("no number: " + std::string(digits));
  return number;
}

}  // namespace

std::vector<std::string> Headers::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [line_name, value] : lines_)
    if (same_name(line_name, name)) values.push_back(value);
  return values;
}

std::string Headers::get(std::string_view name) const {
  auto values = all(name);
  if (values.size() > 1) throw std::runtime_error("header more than once: " + std::string(name));
  return values.empty() ? std::string() : values.front();
}

Exchange::Exchange(const Address& server, const HttpRequest& request)
    : socket_(connect_to(server)), method_(request.method) {
  send_all(socket_, wire_text(request));
}

int Exchange::status() {
  await_head();
  return status_;
}

const Headers& Exchange::headers() {
  await_head();
  return headers_;
}

std::optional<std::string> Exchange::read_event() {
  await_head();
  while (true) {
    const size_t end = body_.find(kEventEnd, events_read_);
    if (end != std::string::npos) {
      auto event = body_.substr(events_read_, end - events_read_);
      events_read_ = end + kEventEnd.size();
      return event;
    }
    if (ended_) break;
    receive();
  }
  if (events_read_ != body_.size())
    throw std::runtime_error("the stream ends within an event: " + body_.substr(events_read_));
  return std::nullopt;
}

Response Exchange::read_all() {
  await_head();
  while (!ended_) receive();
  return {status_, headers_, body_};
}

void Exchange::receive() {
  const auto bytes = receive_some(socket_);
  raw_ += bytes;
  if (framing_ == Framing::kUnknown) {
    const size_t end = raw_.find(kHeadEnd);
    if (end != std::string::npos) {
      parse_head(std::string_view(raw_).substr(0, end + kLineEnd.size()));
      raw_.erase(0, end + kHeadEnd.size());
    }
  }
  if (framing_ != Framing::kUnknown) take_body();
  if (bytes.empty() && !ended_) {
    if (framing_ != Framing::kUntilClose)
      throw std::runtime_error("the answer is cut short; so far " + std::to_string(body_.size()) +
                               " bytes of body, status " + std::to_string(status_) + ", and: " + raw_);
    ended_ = true;
  }
}

void Exchange::await_head() {
  while (framing_ == Framing::kUnknown) receive();
}

void Exchange::parse_head(std::string_view head) {
  if (!head.starts_with("HTTP/1.1 ")) throw std::runtime_error("no HTTP answer: " + std::string(head));
  status_ = static_cast<int>(parse_number(head.substr(9, 3), 10));
  head.remove_prefix(head.find(kLineEnd) + kLineEnd.size());
  while (!head.empty()) {
    const auto line = head.substr(0, head.find(kLineEnd));
    const auto colon = line.find(": ");
    const auto value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 2);
    headers_.add(std::string(line.substr(0, line.find(':'))), std::string(value));
    head.remove_prefix(line.size() + kLineEnd.size());
  }
  framing_ = framing_of_answer();
  if (framing_ == Framing::kLength) length_ = parse_number(headers_.get("Content-Length"), 10);
}

Exchange::Framing Exchange::framing_of_answer() const {
  if (method_ == "HEAD" || status_ == 204 || status_ == 304) return Framing::kNone;
  if (headers_.get("Transfer-Encoding") == "chunked") return Framing::kChunked;
  return headers_.count("Content-Length") > 0 ? Framing::kLength : Framing::kUntilClose;
}

void Exchange::take_body() {
  switch (framing_) {
    case Framing::kChunked:
      while (!ended_ && take_chunk()) {
      }
      return;
    case Framing::kNone:
      ended_ = true;
      return;
    case Framing::kLength:
    case Framing::kUntilClose:
    case Framing::kUnknown:
      body_ += std::exchange(raw_, {});
      ended_ = framing_ == Framing::kLength && body_.size() >= length_;
      return;
  }
}

bool Exchange::take_chunk() {
  const size_t line_end = raw_.find(kLineEnd);
  if (line_end == std::string::npos) return false;
  const size_t size = parse_number(std::string_view(raw_).substr(0, line_end), 16);
  const size_t start = line_end + kLineEnd.size();
  if (raw_.size() < start + size + kLineEnd.size()) return false;
  if (size == 0) {
    ended_ = true;
  } else {
    chunks_.push_back(raw_.substr(start, size));
    body_ += chunks_.back();
  }
  raw_.erase(0, start + size + kLineEnd.size());
  return true;
}

Response Browser::post(std::string path, std::string body, Headers headers) const {
  return fetch(
      {.method = "POST", .path = std::move(path), .headers = std::move(headers), .body = std::move(body)});
}

}  // namespace bailian::e2e
