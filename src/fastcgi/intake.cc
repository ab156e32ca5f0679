#include "fastcgi/intake.h"

#include <array>
#include <cassert>

#include "base/log.h"

namespace bailian {
namespace {

// Only a broken or hostile peer is slow: nginx sends a request in one go. It also closes idle connections
// itself (keepalive_timeout, 60 s). While the process drains, a request may still be on its way on a parked
// connection.
struct Deadline {
  FcgiIntake::Phase phase;
  std::chrono::seconds serving;
  std::chrono::seconds draining;
};
using Phase = FcgiIntake::Phase;
using std::chrono::seconds;
constexpr std::array kDeadlines = {
    Deadline{Phase::kParked, seconds(300), seconds(2)},
    Deadline{Phase::kHead, seconds(10), seconds(1)},
    Deadline{Phase::kBody, seconds(30), seconds(1)},
};
static_assert(kDeadlines[static_cast<size_t>(Phase::kBody)].phase == Phase::kBody);

}  // namespace

FcgiIntake::FcgiIntake(const FcgiContext& context)
    : context_(context), parser_(context.limits.max_body_bytes, context.limits.max_streams) {}

Clock::duration FcgiIntake::deadline() const {
  assert(phase_ != Phase::kComplete);
  const Deadline& deadline = kDeadlines.at(static_cast<size_t>(phase_));
  return context_.draining ? deadline.draining : deadline.serving;
}

bool FcgiIntake::take(std::span<const unsigned char> bytes) {
  const bool had_params = parser_.has_params();
  if (!parser_.feed(bytes)) {
    if (context_.telemetry.bad_requests.admit())
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
