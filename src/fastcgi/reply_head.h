#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/exchange.h"

namespace bailian {

/// Whether a response with this status may have a body (RFC 9110, 6.4.1).
constexpr bool has_body(int status) { return status != 204 && status != 304; }

/// The head of a CGI response (RFC 3875, 6.3): status line, headers, empty line. Without a Content-Length, as
/// for an event stream, the body ends with the response. Pure.
std::string reply_head(const Reply& reply, std::optional<size_t> content_length = {});

}  // namespace bailian
