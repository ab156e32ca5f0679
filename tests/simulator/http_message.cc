#include "http_message.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

namespace bailian::simulator {
namespace {

std::string lower_case(std::string_view name) {
  std::string result(name);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view find(const Headers& headers, std::string_view name) {
  const auto found = std::find_if(headers.begin(), headers.end(),
                                  [name](const auto& header) { return header.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

Headers copy_headers(const evkeyvalq& list) {
  Headers headers;
  for (const evkeyval* entry = list.tqh_first; entry != nullptr; entry = entry->next.tqe_next) {
    headers.emplace_back(lower_case(entry->key), entry->value);
  }
  return headers;
}

Headers read_query(const char* query) {
  evkeyvalq list{};
  if (query == nullptr || evhttp_parse_query_str(query, &list) != 0) return {};
  Headers result = copy_headers(list);
  evhttp_clear_headers(&list);
  return result;
}

std::string read_body(evbuffer* buffer) {
  std::string body(evbuffer_get_length(buffer), '\0');
  evbuffer_remove(buffer, body.data(), body.size());
  return body;
}

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 408:
      return "Request Timeout";
    case 413:
      return "Payload Too Large";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm fields{};
  gmtime_r(&now, &fields);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &fields)};
}

std::string head_without_framing(int status, const Headers& headers, const HttpRequest& request) {
  std::string head = "HTTP/1.1 " + std::to_string(status) + ' ';
  head.append(reason(status)).append("\r\n");
  for (const auto& [name, value] : headers) head.append(name).append(": ").append(value).append("\r\n");
  if (request.closes) head += "connection: close\r\n";
  return head;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  return find(headers, lower_case_name);
}

std::string_view HttpRequest::parameter(std::string_view name) const { return find(query, name); }

HttpRequest read_request(evhttp_request* request) {
  HttpRequest result;
  const evhttp_uri* uri = evhttp_request_get_evhttp_uri(request);
  const char* path = evhttp_uri_get_path(uri);
  result.is_post = evhttp_request_get_command(request) == EVHTTP_REQ_POST;
  result.is_head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
  result.has_chunks = request->major > 1 || (request->major == 1 && request->minor >= 1);
  result.path = path == nullptr ? "" : path;
  result.query = read_query(evhttp_uri_get_query(uri));
  result.headers = copy_headers(*evhttp_request_get_input_headers(request));
  result.body = read_body(evhttp_request_get_input_buffer(request));
  const std::string connection(result.header("connection"));
  result.closes = strcasecmp(connection.c_str(), "close") == 0;
  return result;
}

std::string http_head(int status, const Headers& headers, const HttpRequest& request) {
  std::string head = head_without_framing(status, headers, request);
  if (request.has_chunks && !request.is_head) head += "transfer-encoding: chunked\r\n";
  return head + "\r\n";
}

std::string http_reply(int status, std::string_view content_type, std::string_view body,
                       const HttpRequest& request) {
  Headers headers;
  if (!body.empty()) headers.emplace_back("content-type", content_type);
  if (status != 204) headers.emplace_back("content-length", std::to_string(body.size()));
  return head_without_framing(status, headers, request).append("\r\n").append(body);
}

Headers gateway_headers(const GatewayHead& head) {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now();
  const auto cost = duration_cast<milliseconds>(now - head.arrived).count();
  const auto epoch_ms = [](auto time) {
    return std::to_string(duration_cast<milliseconds>(time.time_since_epoch()).count());
  };
  Headers headers;
  if (head.status == 200) {
    headers.emplace_back("vary", "Origin,Access-Control-Request-Method,Access-Control-Request-Headers");
    if (!head.is_stream) headers.back().second += ", Accept-Encoding";
  }
  headers.emplace_back("x-request-id", head.request_id);
  headers.emplace_back("content-type", head.content_type);
  headers.emplace_back("x-dashscope-call-gateway", "true");
  headers.emplace_back("x-dashscope-timeout", "180");
  headers.emplace_back("x-dashscope-finished", head.is_stream ? "false" : "true");
  headers.emplace_back("req-cost-time", std::to_string(cost));
  headers.emplace_back("req-arrive-time", epoch_ms(head.arrived));
  headers.emplace_back("resp-start-time", epoch_ms(now));
  headers.emplace_back("x-envoy-upstream-service-time", std::to_string(cost));
  headers.emplace_back("date", http_date());
  headers.emplace_back("server", "istio-envoy");
  return headers;
}

Headers proxy_headers(std::string_view content_type) {
  Headers headers;
  if (!content_type.empty()) headers.emplace_back("content-type", content_type);
  headers.emplace_back("date", http_date());
  headers.emplace_back("server", "istio-envoy");
  return headers;
}

void append_chunk(std::string_view bytes, std::size_t extra_bytes, std::string& out) {
  std::array<char, 16> digits{};
  char* end = std::to_chars(digits.data(), digits.data() + digits.size(), bytes.size() + extra_bytes, 16).ptr;
  out.append(digits.data(), end);
  out += "\r\n";
  out += bytes;
  if (extra_bytes == 0) out += "\r\n";
}

}  // namespace bailian::simulator
