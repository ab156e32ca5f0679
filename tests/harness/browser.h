#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/json.h"
#include "harness/socket.h"

namespace bailian::e2e {

// Header lines in order; names are compared without regard to case.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string, std::string>> lines) : lines_(lines) {}

  void add(std::string name, std::string value) { lines_.emplace_back(std::move(name), std::move(value)); }
  std::vector<std::string> all(std::string_view name) const;
  size_t count(std::string_view name) const { return all(name).size(); }
  // The value of a header that occurs at most once; empty when it is absent.
  std::string get(std::string_view name) const;

  auto begin() const { return lines_.begin(); }
  auto end() const { return lines_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

struct HttpRequest {
  std::string method = "GET";
  std::string path = "/";
  Headers headers = {};
  std::string body = {};
};

struct Response {
  int status;
  Headers headers;
  std::string body;

  Json json() const { return parse_json(body); }
};

// One HTTP/1.1 request and its answer, on its own connection. The answer is read as it arrives.
class Exchange {
 public:
  Exchange(const Address& server, const HttpRequest& request);

  // These wait for the head of the answer.
  int status();
  const Headers& headers();

  // The next whole event of an event stream: its lines without the blank one at the end. Nothing when the
  // answer has ended.
  std::optional<std::string> read_event();
  // Waits for the end of the answer. Throws when the answer is cut short.
  Response read_all();

  // The HTTP chunks received so far.
  const std::vector<std::string>& chunks() const { return chunks_; }
  // Leaves without waiting for the rest, as a closed tab does.
  void close() { socket_.close(); }
  const Fd& socket() const { return socket_; }

 private:
  enum class Framing { kUnknown, kNone, kLength, kChunked, kUntilClose };

  void receive();
  void await_head();
  void parse_head(std::string_view head);
  Framing framing_of_answer() const;
  void take_body();
  bool take_chunk();

  Fd socket_;
  std::string method_;
  std::string raw_;  // received, not yet parsed
  int status_ = 0;
  Headers headers_;
  Framing framing_ = Framing::kUnknown;
  size_t length_ = 0;
  std::string body_;
  size_t events_read_ = 0;  // bytes of body_ that read_event has returned
  std::vector<std::string> chunks_;
  bool ended_ = false;
};

// Asks one server.
class Browser {
 public:
  explicit Browser(Address server) : server_(std::move(server)) {}

  Exchange send(const HttpRequest& request) const { return {server_, request}; }
  Response fetch(const HttpRequest& request) const { return send(request).read_all(); }
  Response get(std::string path) const { return fetch({.path = std::move(path)}); }
  Response post(std::string path, std::string body, Headers headers = {}) const;

 private:
  Address server_;
};

}  // namespace bailian::e2e
