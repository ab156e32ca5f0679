#include "chat/cors.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"

namespace bailian {
namespace {

// A browser sends its origin with same-origin POSTs too. A page of http://site does not belong to
// https://site; but https://site may be ours, as TLS may end at a proxy before the web server.
bool is_same_origin(const Request& request) {
  if (request.is_https && !request.origin.starts_with("https://")) return false;
  const size_t scheme_end = request.origin.find("://");
  return scheme_end != std::string::npos && request.origin.substr(scheme_end + 3) == request.host;
}

// A list of header names (RFC 9110, 5.6.2) of a plausible length.
bool are_header_names(std::string_view list) {
  constexpr size_t kMaxListBytes = 1024;
  constexpr std::string_view kOtherNameChars = "!#$%&'*+-.^_`|~";
  const auto in_name = [&](char c) { return is_alnum(c) || kOtherNameChars.find(c) != list.npos; };
  const auto in_list = [&](char c) { return in_name(c) || c == ',' || c == ' '; };
  return list.size() <= kMaxListBytes && std::ranges::all_of(list, in_list) &&
         std::ranges::any_of(list, in_name);
}

}  // namespace

bool is_allowed_origin(const Request& request, const Origins& allowed) {
  return allowed.empty() || request.origin.empty() || is_same_origin(request) ||
         std::ranges::find(allowed, request.origin) != allowed.end();
}

void add_cors_headers(Headers& headers, const Request& request, const Origins& allowed) {
  if (allowed.empty()) {
    headers.emplace_back("Access-Control-Allow-Origin", "*");
  } else {
    headers.emplace_back("Vary", "Origin");
    if (!request.origin.empty() && is_allowed_origin(request, allowed)) {
      headers.emplace_back("Access-Control-Allow-Origin", request.origin);
    }
  }
  headers.emplace_back("Access-Control-Expose-Headers",
                       "X-Request-Id, Retry-After, x-should-retry, X-Bailian-Cache");
}

// Tracing in a page (Sentry, OpenTelemetry) adds headers to each request. Any header is allowed, because none
// has a meaning here.
Reply preflight_reply(const Request& request) {
  constexpr std::string_view kUsualHeaders =
      "Content-Type, Accept, Authorization, Cache-Control, Idempotency-Key, X-Requested-With, X-WP-Nonce";
  const std::string_view allowed =
      are_header_names(request.requested_headers) ? request.requested_headers : kUsualHeaders;
  return {204,
          {{"Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"},
           {"Access-Control-Allow-Headers", std::string(allowed)},
           {"Access-Control-Max-Age", "86400"}},
          {}};
}

}  // namespace bailian
