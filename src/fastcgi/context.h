#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/callback.h"
#include "base/event_loop.h"
#include "base/exchange.h"
#include "base/rate_limiter.h"
#include "fastcgi/output.h"
#include "fastcgi/request_reader.h"
#include "telemetry/metrics.h"
#include "telemetry/slow_log.h"
#include "telemetry/status_board.h"

namespace bailian {

class FcgiConnection;

struct FcgiLimits {
  size_t max_body_bytes;
  int max_streams;
  Clock::duration client_stall_timeout;
  Clock::duration last_bytes_timeout;  // from the end of the answer until all of it was sent
};

/// What answers the requests.
struct FcgiHandler {
  /// Sends the reply at once and returns nothing, or returns the exchange that will.
  std::function<std::unique_ptr<Exchange>(const Request&, ClientStream&)> handle;
  /// Whether the body of such a request is wanted; otherwise it is discarded.
  std::function<bool(std::string_view method, std::string_view path)> takes_body;
};

/// The state of a connection.
enum class FcgiState {
  kParked,     // kept open between two requests
  kReading,    // a request is coming in
  kAnswering,  // an exchange is in progress
  kFinishing,  // the answer is complete, but not all of it was sent
  kClosed,     // destroyed at the end of the iteration
  kCount
};

/// The part of the listener that its connections use. It outlives them.
struct FcgiContext {
  EventLoop& loop;
  FcgiLimits limits;
  FcgiHandler handler;
  FcgiRequestReader reader{};
  OutputBuffers output_buffers{};
  LoopBoard& board;
  Metrics& metrics;
  Tally& sent_bytes;
  SlowLog slow_log;
  RateLimiter bad_requests;
  Callback<void(FcgiConnection&, FcgiState next)> before_enter;  // a connection changes its state
  bool draining = false;  // connections close soon, or after their answer
  bool stopping = false;  // answers end now
};

}  // namespace bailian
