#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/exchange.h"
#include "fastcgi/context.h"
#include "fastcgi/request_parser.h"

namespace bailian {

/// The receiving half of a connection: turns the peer's bytes into requests and sets the time limit for each
/// part. No socket, no clock.
class FcgiIntake {
 public:
  enum class Phase {
    kParked,   // between two requests
    kHead,     // a request is expected, or its parameters are coming in
    kBody,     // the body is coming in
    kComplete  // read_request() can have it
  };

  explicit FcgiIntake(FcgiContext& context);

  /// Takes what was received. False: the peer broke the protocol (logged); close the connection.
  [[nodiscard]] bool take(std::span<const unsigned char> bytes);

  [[nodiscard]] Phase phase() const { return phase_; }
  /// How long the phase may last.
  [[nodiscard]] Clock::duration deadline() const;
  /// Replies to management records and refused requests, to be sent at once.
  [[nodiscard]] std::string take_replies() { return parser_.take_replies(); }
  /// After these replies nothing more is sent.
  [[nodiscard]] bool is_closing() const { return parser_.is_closing(); }
  /// The peer asks to abort the complete request.
  [[nodiscard]] bool aborted() const { return parser_.aborted(); }

  /// The complete request, once; nothing (logged) if libfcgi rejects it. Throws std::bad_alloc,
  /// std::system_error.
  std::optional<Request> read_request();
  // Of the complete request:
  [[nodiscard]] uint16_t request_id() const { return parser_.request_id(); }
  [[nodiscard]] bool keep_conn() const { return parser_.keep_conn(); }

  /// The complete request was answered: the next one may come.
  void park();

 private:
  FcgiContext& context_;
  FcgiRequestParser parser_;
  Phase phase_ = Phase::kHead;
};

}  // namespace bailian
