#include "fastcgi/reply_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace bailian {
namespace {

// Every status that this program sends (RFC 9110, 15; 429 and 431: RFC 6585).
constexpr std::pair<int, std::string_view> kReasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {413, "Content Too Large"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

std::string_view reason_phrase(int status) {
  const auto* const reason = std::ranges::find(kReasons, status, [](const auto& row) { return row.first; });
  return reason != std::end(kReasons) ? reason->second : "Unknown";
}

}  // namespace

std::string reply_head(const Reply& reply, std::optional<size_t> content_length) {
  std::string head = fmt::format("Status: {} {}\r\n", reply.status, reason_phrase(reply.status));
  for (const auto& [name, value] : reply.headers) head.append(name).append(": ").append(value).append("\r\n");
  if (content_length && has_body(reply.status))
    head += fmt::format("Content-Length: {}\r\n", *content_length);
  return head += "\r\n";
}

}  // namespace bailian
