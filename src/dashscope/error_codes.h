#pragma once

#include <string_view>

#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

/// Each kind of upstream failure: its status, error code, exit code and advice. All texts are literals.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): in the order that its table is read
struct Fault {
  UpstreamFault fault;
  std::string_view label;   // in the metrics
  int http_status;          // of our answer
  std::string_view code;    // in our answer
  std::string_view words;   // in our answer
  int exit_code;            // of the ping command (sysexits.h)
  std::string_view advice;  // printed by the ping command
  CoolDown cool_down;       // of the target; of kFailed only with a 5xx status, of kTimeout not in an answer
};
const Fault& describe(UpstreamFault fault);

/// The meaning of an error body. `http_status`: the response's, or within a stream that of the status
/// comment; 0 when there is none. Decided by the code, then by the code wrapped in the message, then by the
/// status.
UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id);

/// The answer to a visitor whose chat failed. With `debug`, the message includes the upstream's code and
/// message, from which keys are removed.
HttpError to_http_error(const UpstreamError& error, bool debug, std::string_view api_key);

/// The label of a code in the metrics. The upstream may send any code, so only documented codes and our own
/// become labels; a code that wraps one of them gets its label. Everything else is "other", or "none" when it
/// is empty.
std::string_view error_label(std::string_view code);

}  // namespace bailian
