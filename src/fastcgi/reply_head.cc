#include "fastcgi/reply_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace bailian {
namespace {

struct Reason {
  int status;
  std::string_view phrase;
};

// Every status that this program sends (RFC 9110, 15; 429 and 431: RFC 6585).
constexpr std::array kReasons = {
    Reason{200, "OK"},
    Reason{204, "No Content"},
    Reason{304, "Not Modified"},
    Reason{400, "Bad Request"},
    Reason{403, "Forbidden"},
    Reason{404, "Not Found"},
    Reason{405, "Method Not Allowed"},
    Reason{413, "Content Too Large"},
    Reason{429, "Too Many Requests"},
    Reason{431, "Request Header Fields Too Large"},
    Reason{500, "Internal Server Error"},
    Reason{502, "Bad Gateway"},
    Reason{503, "Service Unavailable"},
    Reason{504, "Gateway Timeout"},
};
static_assert(std::ranges::is_sorted(kReasons, {}, &Reason::status));

std::string_view reason_phrase(int status) {
  const auto* const reason = std::ranges::lower_bound(kReasons, status, {}, &Reason::status);
  return reason != kReasons.end() && reason->status == status ? reason->phrase : "Unknown";
}

}  // namespace

std::string reply_head(const Reply& reply, BodyLength length) {
  std::string head = fmt::format("Status: {} {}\r\n", reply.status, reason_phrase(reply.status));
  for (const auto& [name, value] : reply.headers) head.append(name).append(": ").append(value).append("\r\n");
  if (length == BodyLength::kDeclared && has_body(reply.status))
    head += fmt::format("Content-Length: {}\r\n", reply.body.size());
  return head += "\r\n";
}

}  // namespace bailian
