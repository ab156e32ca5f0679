#pragma once

#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/exit_error.h"
#include "base/unique_fd.h"
#include "settings/config.h"

namespace bailian {

/// Parses a FastCGI answer of at most 8 MiB. The peer is not trusted.
class FcgiAnswer {
 public:
  /// True: the answer is complete. Throws ExitError.
  [[nodiscard]] bool feed(std::string_view bytes);

  /// Of the complete answer: the HTTP status (200 if it names none) and the body. Throws ExitError.
  [[nodiscard]] int status() const;
  [[nodiscard]] std::string_view body() const;

 private:
  [[nodiscard]] size_t head_bytes() const;

  std::string record_;  // an incomplete record
  std::string content_;
};

/// Sends a GET request to a FastCGI responder directly, as a web server does.
class FcgiGet {
 public:
  using OnAnswer = std::function<void(const FcgiAnswer&)>;
  using OnError = std::function<void(const std::exception&)>;

  /// Calls one of the two once, from the loop; `on_error` also gets what `on_answer` throws. Neither may
  /// destroy the object. `uri` has at most 127 bytes.
  FcgiGet(EventLoop& loop, ListenAddress address, std::string_view uri, OnAnswer on_answer, OnError on_error);

 private:
  void start();
  void on_ready(short ready);
  void on_deadline();
  void on_exception(const std::exception& error);
  void send_some();
  void receive_some();
  void end();

  const ListenAddress address_;
  const OnAnswer on_answer_;
  const OnError on_error_;
  std::string request_;  // the unsent part
  UniqueFd fd_;
  FcgiAnswer answer_;
  IoEvent io_;
  Timer begin_;
  Timer deadline_;
};

}  // namespace bailian
