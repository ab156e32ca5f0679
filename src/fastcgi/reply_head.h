#pragma once

#include <string>

#include "base/exchange.h"

namespace bailian {

/// How the end of the body is known.
enum class BodyLength {
  kDeclared,  // by Content-Length
  kOpen       // by the end of the response: an event stream
};

/// Whether a response with this status may have a body (RFC 9110, 6.4.1).
constexpr bool has_body(int status) { return status != 204 && status != 304; }

/// The head of a CGI response (RFC 3875, 6.3): status line, headers, empty line. Pure.
std::string reply_head(const Reply& reply, BodyLength length);

}  // namespace bailian
