#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct evhttp_request;

namespace bailian::simulator {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  bool is_post = false;
  bool is_head = false;
  bool has_chunks = true;  // HTTP/1.1, so the answer can be chunked
  bool closes = false;     // Connection: close
  std::string path;        // as it came, without the query
  Headers query;           // decoded
  Headers headers;         // names in lower case
  std::string body;

  // Empty if there is none.
  std::string_view header(std::string_view lower_case_name) const;
  std::string_view parameter(std::string_view name) const;
};

HttpRequest read_request(evhttp_request* request);

// Status line and headers of an answer; the body is chunked or ends with the connection.
std::string http_head(int status, const Headers& headers, const HttpRequest& request);
// As above for a short answer, with the body.
std::string http_reply(int status, std::string_view content_type, std::string_view body,
                       const HttpRequest& request);

// The headers of the DashScope gateway in the order of the captures: contract.md §2 and §3.1.
struct GatewayHead {
  int status = 200;
  std::string content_type;
  std::string request_id;
  bool is_stream = false;
  std::chrono::system_clock::time_point arrived;
};
Headers gateway_headers(const GatewayHead& head);
// The headers of a page that the proxy in front of DashScope generates.
Headers proxy_headers(std::string_view content_type);

// A chunk that announces `extra_bytes` more than it has remains incomplete.
void append_chunk(std::string_view bytes, std::size_t extra_bytes, std::string& out);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace bailian::simulator
