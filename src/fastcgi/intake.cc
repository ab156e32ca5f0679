#include "fastcgi/intake.h"

#include <cassert>

#include "base/log.h"

namespace bailian {

FcgiIntake::FcgiIntake(FcgiContext& context)
    : context_(context), parser_(context.limits.max_body_bytes, context.limits.max_streams) {}

// Only a broken or hostile peer is slow: nginx sends a request in one go. It also closes idle connections
// itself (keepalive_timeout, 60 s). While the process drains, a request may still be on its way on a parked
// connection.
Clock::duration FcgiIntake::deadline() const {
  assert(phase_ != Phase::kComplete);
  using std::chrono::seconds;
  if (phase_ == Phase::kParked) return context_.draining ? seconds(2) : seconds(300);
  if (context_.draining) return seconds(1);
  return phase_ == Phase::kHead ? seconds(10) : seconds(30);
}

bool FcgiIntake::take(std::span<const unsigned char> bytes) {
  const bool had_params = parser_.has_params();
  if (!parser_.feed(bytes)) {
    if (context_.bad_requests.admit())
      log(LogLevel::kWarning, "bad_request", "a peer violates the FastCGI protocol",
          {{"fault", parser_.fault()}});
    return false;
  }
  if (!had_params && parser_.has_params() &&
      (parser_.params_too_large() ||
       !context_.handler.takes_body(parser_.param("REQUEST_METHOD"), requested_path(parser_)))) {
    parser_.drop_body();
  }
  if (phase_ == Phase::kParked && parser_.is_idle() && !parser_.is_closing()) return true;
  phase_ = parser_.state() == FcgiRequestParser::State::kComplete ? Phase::kComplete
           : parser_.has_params()                                 ? Phase::kBody
                                                                  : Phase::kHead;
  return true;
}

std::optional<Request> FcgiIntake::read_request() {
  assert(phase_ == Phase::kComplete);
  auto request = context_.reader.read(parser_);
  if (!request) log(LogLevel::kError, "request_failed", "libfcgi rejects the request");
  parser_.release_wire();
  return request;
}

void FcgiIntake::park() {
  assert(phase_ == Phase::kComplete);
  phase_ = Phase::kParked;
  parser_.expect_next(context_.limits.max_body_bytes);
}

}  // namespace bailian
