#include "chat/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/log.h"
#include "base/text.h"
#include "telemetry/status_exchange.h"

namespace bailian {

struct Route {
  std::string_view path;
  Endpoint resource;
  std::string_view allow;
};

namespace {

// A new route is a line here, a value of Endpoint, its name in metrics.cc and a case in Router::answer; what
// is forgotten of these does not compile, or is warned of.
constexpr std::array kRoutes = {
    Route{"/health", Endpoint::kHealth, "GET, HEAD, OPTIONS"},
    Route{"/ready", Endpoint::kReady, "GET, HEAD, OPTIONS"},
    Route{"/myapi/v1/chat-bot-config", Endpoint::kBotProfile, "GET, HEAD, OPTIONS"},
    Route{"/myapi/v1/chat-bot", Endpoint::kChat, "POST, OPTIONS"},
    Route{"/myapi/v1/chat-bot/stream", Endpoint::kChatStream, "POST, OPTIONS"},
};

// The operator's: these paths exactly, which no web server passes on that has the public ones only.
constexpr std::array kOperatorRoutes = {
    Route{"/metrics", Endpoint::kMetrics, "GET, HEAD"},
    Route{"/ping", Endpoint::kPing, "GET, HEAD"},
    Route{"/status", Endpoint::kStatus, "GET, HEAD"},
};

const Route* find_route(std::string_view path) {
  const auto* operators = std::find_if(kOperatorRoutes.begin(), kOperatorRoutes.end(),
                                       [&](const Route& r) { return r.path == path; });
  if (operators != kOperatorRoutes.end()) return operators;
  constexpr std::string_view kPrefix = "/wp-json";  // the endpoint lived inside WordPress
  if (path.starts_with(kPrefix) && path.substr(kPrefix.size()).starts_with('/'))
    path.remove_prefix(kPrefix.size());
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto* route =
      std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& r) { return r.path == path; });
  return route != kRoutes.end() ? route : nullptr;
}

Endpoint endpoint_of(const Route* route) { return route != nullptr ? route->resource : Endpoint::kNothing; }

bool allows(const Route& route, std::string_view method) {
  std::string_view allow = route.allow;
  while (!allow.empty()) {
    if (trim(split_off(allow, ',')) == method) return true;
  }
  return false;
}

// If-None-Match: a list of tags, weakly compared (RFC 9110, 13.1.2); nginx weakens ours when it compresses.
bool matches(std::string_view if_none_match, std::string_view etag) {
  while (!if_none_match.empty()) {
    std::string_view tag = trim(split_off(if_none_match, ','), " ");
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    if (tag == "*" || tag == etag) return true;
  }
  return false;
}

// A browser names its origin in same-origin POSTs too. A page of http://site is none of https://site; the
// other way round TLS may end at a proxy before the web server.
bool is_same_origin(const Request& request) {
  if (request.is_https && !request.origin.starts_with("https://")) return false;
  const size_t scheme_end = request.origin.find("://");
  return scheme_end != std::string::npos && request.origin.substr(scheme_end + 3) == request.host;
}

// A list of header names (RFC 9110, 5.6.2), of a length that a page asks for.
bool are_header_names(std::string_view list) {
  constexpr size_t kMaxListBytes = 1024;
  constexpr std::string_view kOtherNameChars = "!#$%&'*+-.^_`|~";
  if (list.empty() || list.size() > kMaxListBytes) return false;
  bool in_name = false;
  for (const char c : list) {
    const bool is_name_char = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                              kOtherNameChars.find(c) != std::string_view::npos;
    if (!is_name_char && c != ',' && c != ' ') return false;
    in_name = in_name || is_name_char;
  }
  return in_name;
}

// Tracing in the page (Sentry, OpenTelemetry) adds headers to each request: what is asked for is allowed,
// since none of them means anything here.
Reply preflight_reply(const Request& request) {
  constexpr std::string_view kUsualHeaders =
      "Content-Type, Accept, Authorization, Cache-Control, X-Requested-With, X-WP-Nonce";
  const std::string_view allowed =
      are_header_names(request.requested_headers) ? request.requested_headers : kUsualHeaders;
  return {204,
          {{"Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"},
           {"Access-Control-Allow-Headers", std::string(allowed)},
           {"Access-Control-Max-Age", "86400"}},
          {}};
}

HttpError misconfigured_error() {
  return {503, "not_configured", "The chat service has a fault in its settings"};
}

Reply state_reply(int status, std::string_view state) {
  return {status,
          {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
          fmt::format(R"({{"status":"{}","service":"Bailian-chatbot-backend","version":"{}"}})", state,
                      BAILIAN_VERSION)};
}

}  // namespace

bool Router::takes_body(std::string_view method, std::string_view path) {
  const Route* route = find_route(path);
  return method == "POST" && route != nullptr && allows(*route, method);
}

bool Router::is_allowed_origin(const Request& request) const {
  const auto& allowed = config().allowed_origins;
  return allowed.empty() || request.origin.empty() || is_same_origin(request) ||
         std::find(allowed.begin(), allowed.end(), request.origin) != allowed.end();
}

Headers Router::common_headers(const Request& request) const {
  Headers headers = {{"X-Request-Id", request.request_id}, {"X-Content-Type-Options", "nosniff"}};
  if (config().allowed_origins.empty()) {
    headers.emplace_back("Access-Control-Allow-Origin", "*");
  } else {
    headers.emplace_back("Vary", "Origin");
    if (!request.origin.empty() && is_allowed_origin(request)) {
      headers.emplace_back("Access-Control-Allow-Origin", request.origin);
    }
  }
  headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  return headers;
}

std::unique_ptr<Exchange> Router::handle(const Request& request, ClientStream& client) {
  const Headers common = common_headers(request);
  const bool is_routed = request.fault != RequestFault::kParamsTooLarge && request.method != "OPTIONS";
  const Route* const route = is_routed ? find_route(request.path) : nullptr;
  Reply failed;
  try {
    return answer(request, route, client, common);
  } catch (const HttpError& error) {
    failed = error_reply(error, request.request_id, common);
  } catch (const std::exception& error) {
    failed = error_reply({500, "internal", "Internal server error"}, request.request_id, common);
    failed.detail = error.what();
  }
  failed.endpoint = endpoint_of(route);
  client.send(failed);
  return nullptr;
}

std::unique_ptr<Exchange> Router::answer(const Request& request, const Route* route, ClientStream& client,
                                         const Headers& common) {
  const auto send = [&](Reply reply) {
    reply.endpoint = endpoint_of(route);
    reply.headers.insert(reply.headers.begin(), common.begin(), common.end());
    client.send(reply);
    return nullptr;
  };
  // No page of any origin may read what is the operator's.
  const auto send_operator = [&](Reply reply) {
    reply.endpoint = endpoint_of(route);
    reply.headers.emplace_back("Cache-Control", "no-store");
    reply.headers.emplace_back("X-Request-Id", request.request_id);
    reply.headers.emplace_back("X-Content-Type-Options", "nosniff");
    client.send(reply);
    return nullptr;
  };
  if (request.fault == RequestFault::kParamsTooLarge)
    throw HttpError(431, "headers_too_large", "Request header fields too large");
  if (request.method == "OPTIONS") return send(preflight_reply(request));
  if (route == nullptr) throw HttpError(404, "not_found", "Endpoint not found");
  if (!allows(*route, request.method)) {
    Reply reply = error_reply({405, "method_not_allowed", "Method not allowed"}, request.request_id, {});
    reply.headers.emplace_back("Allow", route->allow);
    return send(std::move(reply));
  }
  const bool draining = shared_.draining;
  const bool misconfigured = shared_.misconfigured;
  switch (route->resource) {
    case Endpoint::kNothing:
    case Endpoint::kCount:
      break;
    case Endpoint::kHealth:
      return send(state_reply(200, draining ? "draining" : misconfigured ? "misconfigured" : "healthy"));
    case Endpoint::kReady:
      if (misconfigured && !draining) return send(state_reply(503, "misconfigured"));
      return send(state_reply(draining ? 503 : 200, draining ? "draining" : "ready"));
    case Endpoint::kBotProfile:
      if (misconfigured) throw misconfigured_error();
      return send(bot_profile(request));
    case Endpoint::kChat:
      return chat(request, client, AnswerMode::kJson, common);
    case Endpoint::kChatStream:
      return chat(request, client, AnswerMode::kStream, common);
    case Endpoint::kMetrics:
      return send_operator(metrics());
    case Endpoint::kPing:
      return send_operator({200, {{"Content-Type", "text/plain; charset=utf-8"}}, "pong"});
    case Endpoint::kStatus:
      return std::make_unique<StatusExchange>(loop_, shared_.board, status_figures(shared_), client,
                                              parse_status_query(request.query),
                                              Headers{{"Cache-Control", "no-store"},
                                                      {"X-Request-Id", request.request_id},
                                                      {"X-Content-Type-Options", "nosniff"}});
  }
  return nullptr;
}

Reply Router::bot_profile(const Request& request) const {
  const BotProfile& profile = config().bot_profile;
  const bool unchanged = matches(request.if_none_match, profile.etag);
  Headers headers = {{"ETag", profile.etag}, {"Cache-Control", "no-cache"}};
  if (unchanged) return {304, std::move(headers), {}};
  headers.emplace_back("Content-Type", "application/json");
  return {200, std::move(headers), profile.json};
}

Reply Router::metrics() {
  const Gauges gauges = {shared_.streams.taken(), shared_.streams.limit(), lost_log_writes()};
  return {200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}, shared_.metrics.text(gauges)};
}

std::unique_ptr<Exchange> Router::chat(const Request& request, ClientStream& client, AnswerMode mode,
                                       const Headers& common) {
  if (shared_.misconfigured) throw misconfigured_error();
  if (!is_allowed_origin(request)) throw HttpError(403, "origin_not_allowed", "Origin not allowed");
  if (request.fault == RequestFault::kBadLength)
    throw HttpError(400, "invalid_request", "Content-Length is not the length of the body");
  if (request.fault == RequestFault::kBodyTooLarge) {
    throw HttpError(
        413, "too_large",
        fmt::format("Request too large: the body has more than {} bytes", config().max_body_bytes));
  }
  const Question chat_request = parse_chat_request(
      request.body, {config().max_prompt_bytes, config().max_history_messages, config().visitor_params});
  if (config().api_key.empty()) throw HttpError(500, "not_configured", "API Key is not configured");
  if (config().app_id.empty()) throw HttpError(500, "not_configured", "App ID is not configured");
  const auto question = shared_.failed_streams.key(request.visitor, chat_request);
  // A stream is a new question, whatever became of the last.
  const auto failure = shared_.failed_streams.take(question, Clock::now());
  if (failure && mode == AnswerMode::kJson) {
    shared_.metrics.count_answered_fallback();
    Reply reply = error_reply(failure->error, request.request_id, common);
    reply.endpoint = Endpoint::kChat;
    reply.upstream_code = failure->upstream_code;
    reply.detail = "the error of this question's stream; DashScope was not asked again";
    client.send(reply);
    return nullptr;
  }
  StreamLimit::Permit place = shared_.refusing ? StreamLimit::Permit() : shared_.streams.take();
  if (!place) {
    if (!shared_.refusing) board_.rejected += 1;
    throw HttpError(503, "overloaded", "Server busy");
  }
  return std::make_unique<Chat>(loop_, board_, setup_, std::move(place), client, request.request_id,
                                chat_request, mode, common, FailureNote{shared_.failed_streams, question});
}

}  // namespace bailian
