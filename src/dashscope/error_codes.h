#pragma once

#include <string_view>

#include "dashscope/chat_types.h"

namespace bailian {

/// What an error body means. `http_status` is the one that goes with it: the response's, or inside a stream
/// that of the status comment; 0 when there is none. Decided by the code, then by the code wrapped in the
/// message, then by the status.
UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id);

// How an error is counted: words of a limited number, as the upstream may send any.

/// The code when it is documented or our own, its documented part when it wraps one; else "other", or "none"
/// when it is empty.
std::string_view error_label(std::string_view code);
std::string_view fault_label(UpstreamFault fault);

}  // namespace bailian
