#pragma once

#include <string>
#include <vector>

#include "base/exchange.h"

namespace bailian {

// Cross-origin requests (the Fetch standard, "CORS protocol").

using Origins = std::vector<std::string>;  // ALLOWED_ORIGINS; empty: every origin is allowed

/// True also for the site's own pages, and for requests without an origin, which no page sends.
bool is_allowed_origin(const Request& request, const Origins& allowed);

/// Adds the fields that let an allowed page read the reply.
void add_cors_headers(Headers& headers, const Request& request, const Origins& allowed);

Reply preflight_reply(const Request& request);

}  // namespace bailian
