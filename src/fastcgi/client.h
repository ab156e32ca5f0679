#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "settings/config.h"

namespace bailian {

/// Why there is no answer, and the exit code of sysexits.h that says so.
class FcgiClientError : public std::runtime_error {
 public:
  FcgiClientError(int exit_code, const std::string& what) : std::runtime_error(what), exit_code_(exit_code) {}
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// Takes a FastCGI answer apart. The peer may be anybody: what comes of it is its bytes, of bounded number.
class FcgiAnswer {
 public:
  /// True once the answer is whole. Throws FcgiClientError.
  [[nodiscard]] bool feed(std::string_view bytes);

  /// Of the whole answer: the HTTP status (200 when none is named) and the body. Throws FcgiClientError.
  [[nodiscard]] int status() const;
  [[nodiscard]] std::string_view body() const;

 private:
  [[nodiscard]] size_t head_bytes() const;

  std::string record_;  // the start of one
  std::string content_;
};

/// A GET sent straight to a FastCGI responder, as a web server would.
class FcgiGet {
 public:
  using OnAnswer = std::function<void(const FcgiAnswer&)>;
  using OnError = std::function<void(const std::exception&)>;

  /// One of the two is called, once, from the loop; `on_error` also with what `on_answer` throws. The object
  /// may be destroyed at any time but in there. `uri` is short.
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
  std::string request_;  // what of it is to be sent
  UniqueFd fd_;
  FcgiAnswer answer_;
  IoEvent io_;
  Timer begin_;
  Timer deadline_;
};

}  // namespace bailian
