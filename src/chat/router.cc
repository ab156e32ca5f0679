#include "chat/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "chat/cors.h"
#include "chat/operator_pages.h"
#include "chat/refusal.h"
#include "dialects/myapi.h"

namespace bailian {

struct Router::Route {
  std::string_view path;
  Endpoint endpoint;
  std::string_view allow;  // the Allow header: its methods
  Result (Router::*answer)(const Visit&);
  const Dialect* dialect = &kMyapi;
};

namespace {

// The first part of the paths that may name a bot: /myapi/bots/NAME/v1/chat-bot is /myapi/v1/chat-bot of a
// bot.
constexpr std::string_view kApi = "/myapi";

constexpr std::string_view kReads = "GET, HEAD, OPTIONS";
constexpr std::string_view kPosts = "POST, OPTIONS";
constexpr std::string_view kOperatorReads = "GET, HEAD";  // never called by a page

bool has_method(std::string_view allow, std::string_view method) {
  while (!allow.empty()) {
    if (trim(split_off(allow, ',')) == method) return true;
  }
  return false;
}

// Without the parts that a front end may add: the prefix of the WordPress site that once had the endpoints,
// and a slash at the end.
std::string_view canonical(std::string_view path) {
  constexpr std::string_view kPrefix = "/wp-json";
  if (path.starts_with(kPrefix) && path.substr(kPrefix.size()).starts_with('/'))
    path.remove_prefix(kPrefix.size());
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

struct BotPath {
  std::optional<std::string_view> bot;  // none: the path names none
  std::string_view rest;                // without /myapi, if there is a bot
};

BotPath split_bot_path(std::string_view path) {
  constexpr std::string_view kBots = "/bots/";
  std::string_view rest = path;
  if (!rest.starts_with(kApi)) return {std::nullopt, path};
  rest.remove_prefix(kApi.size());
  if (!rest.starts_with(kBots)) return {std::nullopt, path};
  rest.remove_prefix(kBots.size());
  const size_t end = std::min(rest.find('/'), rest.size());
  return {rest.substr(0, end), rest.substr(end)};
}

// Whether If-None-Match, a list of tags, has `etag`. Compared weakly (RFC 9110, 13.1.2): nginx makes ours a
// weak one when it compresses.
bool matches(std::string_view if_none_match, std::string_view etag) {
  while (!if_none_match.empty()) {
    std::string_view tag = trim(split_off(if_none_match, ','), " ");
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    if (tag == "*" || tag == etag) return true;
  }
  return false;
}

// No page of any origin may read the operator's pages.
Headers operator_headers(const Request& request) {
  return {{"Cache-Control", "no-store"},
          {"X-Request-Id", request.request_id},
          {"X-Content-Type-Options", "nosniff"}};
}

Reply with_headers(const Headers& headers, Reply reply) {
  reply.headers.insert(reply.headers.begin(), headers.begin(), headers.end());
  return reply;
}

HttpError not_found() { return {404, "not_found", "Endpoint not found"}; }

HttpError misconfigured() { return {503, "not_configured", "The chat service has a fault in its settings"}; }

// Each of the targets lacks the one or the other.
HttpError not_configured(const std::vector<Target>& targets) {
  const auto is_empty = [](const std::string& value) { return value.empty(); };
  if (std::ranges::all_of(targets, is_empty, &Target::api_key))
    return {500, "not_configured", "API Key is not configured"};
  if (std::ranges::all_of(targets, is_empty, &Target::app_id))
    return {500, "not_configured", "App ID is not configured"};
  return {500, "not_configured", "API Key or App ID is not configured"};
}

}  // namespace

// --- routing ---

Router::Destination Router::find(std::string_view path) {
  // A new endpoint needs a line here, its function, and a row of kEndpoints in base/access_record.h.
  static constexpr std::array kRoutes = {
      Route{"/health", Endpoint::kHealth, kReads, &Router::health},
      Route{"/ready", Endpoint::kReady, kReads, &Router::ready},
      Route{"/myapi/v1/chat-bot-config", Endpoint::kBotProfile, kReads, &Router::bot_profile},
      Route{"/myapi/v1/chat-bot", Endpoint::kChat, kPosts, &Router::chat, &kMyapi},
      Route{"/myapi/v1/chat-bot/stream", Endpoint::kChatStream, kPosts, &Router::chat, &kMyapi},
      Route{"/metrics", Endpoint::kMetrics, kOperatorReads, &Router::metrics},
      Route{"/ping", Endpoint::kPing, kOperatorReads, &Router::ping},
      Route{"/status", Endpoint::kStatus, kOperatorReads, &Router::status},
  };
  static_assert(std::ranges::all_of(kEndpoints, [](const EndpointRow& row) {
    return std::ranges::count(kRoutes, row.value, &Route::endpoint) == (row.value != Endpoint::kUnknown);
  }));

  const BotPath asked = split_bot_path(canonical(path));
  const auto is_asked = [&](const Route& route) {
    // An operator's path is matched as it is: a web server passes on public paths only, by their prefix.
    if (is_for_operator(route.endpoint)) return route.path == path;
    if (!asked.bot) return route.path == asked.rest;
    return route.path.starts_with(kApi) && route.path.substr(kApi.size()) == asked.rest;
  };
  const auto* const found = std::ranges::find_if(kRoutes, is_asked);
  return {found != kRoutes.end() ? found : nullptr, asked.bot};
}

// The name in the path, else the host decides.
Bot* Router::find_bot(const std::optional<std::string_view>& name, std::string_view host) const {
  if (name) return snapshot_->find(*name);
  const auto& hosts = config().bot_hosts;
  const auto bot = hosts.empty() ? hosts.end() : hosts.find(host_name(host));
  return bot != hosts.end() ? snapshot_->find(bot->second) : &snapshot_->bots.front();
}

bool Router::takes_body(std::string_view method, std::string_view path) const {
  const auto [route, bot] = find(path);
  if (method != "POST" || route == nullptr || !has_method(route->allow, method)) return false;
  return !bot || snapshot_->find(*bot) != nullptr;
}

std::unique_ptr<Exchange> Router::handle(const Request& request, ClientStream& client) {
  const auto [route, name] = find(request.path);
  Bot* const bot = find_bot(name, request.host);
  Result result = answer(request, client, route, bot);
  if (auto* const exchange = std::get_if<std::unique_ptr<Exchange>>(&result)) return std::move(*exchange);
  Reply& reply = std::get<Reply>(result);
  const bool is_routed = request.method != "OPTIONS" && request.fault != RequestFault::kParamsTooLarge;
  if (is_routed && route != nullptr) {
    reply.endpoint = route->endpoint;
    if (route->path.starts_with(kApi) && bot != nullptr) reply.bot = bot->name;
  }
  client.send(reply);
  return nullptr;
}

Router::Result Router::answer(const Request& request, ClientStream& client, const Route* route, Bot* bot) {
  Headers common = {{"X-Request-Id", request.request_id}, {"X-Content-Type-Options", "nosniff"}};
  add_cors_headers(common, request, (bot != nullptr ? bot->config : config()).allowed_origins);
  const Dialect& dialect = route != nullptr ? *route->dialect : kMyapi;
  try {
    return dispatch(request, client, route, bot, common);
  } catch (const HttpError& error) {
    Reply reply = dialect.refuse(error, request.request_id, common);
    if (error.forbids_retry()) reply.detail = error.code();
    return reply;
  } catch (const std::exception& error) {
    Reply reply = dialect.refuse({500, "internal", "Internal server error"}, request.request_id, common);
    reply.detail = error.what();
    return reply;
  }
}

Router::Result Router::dispatch(const Request& request, ClientStream& client, const Route* route, Bot* bot,
                                const Headers& common) {
  if (request.fault == RequestFault::kParamsTooLarge)
    throw HttpError(431, "headers_too_large", "Request header fields too large");
  if (request.method == "OPTIONS") {
    if (route != nullptr && route->allow == kPosts && bot != nullptr) expect_question(request, *bot);
    return with_headers(common, preflight_reply(request));
  }
  if (route == nullptr || bot == nullptr) throw not_found();
  if (!has_method(route->allow, request.method)) {
    const HttpError error(405, "method_not_allowed", "Method not allowed");
    Reply reply = route->dialect->refuse(error, request.request_id, common);
    reply.headers.emplace_back("Allow", route->allow);
    return reply;
  }
  const Headers headers = is_for_operator(route->endpoint) ? operator_headers(request) : common;
  Result result = (this->*route->answer)({request, client, *route, *bot, headers});
  if (auto* const reply = std::get_if<Reply>(&result)) return with_headers(headers, std::move(*reply));
  return result;
}

// --- the routes ---

Router::Result Router::health(const Visit&) { return health_page(state_); }

Router::Result Router::ready(const Visit&) { return ready_page(state_, config()); }

Router::Result Router::bot_profile(const Visit& visit) {
  if (state_.misconfigured) throw misconfigured();
  expect_question(visit.request, visit.bot);
  const BotProfile& configured = visit.bot.config.bot_profile;
  std::optional<BotProfile> closed;
  if (is_closed(visit.bot)) closed = offline_profile(configured);
  const BotProfile& profile = closed ? *closed : configured;
  Headers headers = {{"ETag", profile.etag}, {"Cache-Control", "no-cache"}};
  if (matches(visit.request.if_none_match, profile.etag)) return Reply{304, std::move(headers), {}};
  headers.emplace_back("Content-Type", "application/json");
  return Reply{200, std::move(headers), profile.json};
}

Router::Result Router::metrics(const Visit&) { return metrics_page(state_, *snapshot_); }

Router::Result Router::ping(const Visit&) {
  return Reply{200, {{"Content-Type", "text/plain; charset=utf-8"}}, "pong"};
}

Router::Result Router::status(const Visit& visit) {
  return status_page(loop_, state_, *snapshot_, visit.request, visit.client, visit.headers);
}

Router::Result Router::chat(const Visit& visit) {
  check_chat(visit);
  const Dialect& dialect = *visit.route.dialect;
  const Config& limits = visit.bot.config;
  ParsedRequest parsed =
      dialect.parse(visit.request, visit.route.path,
                    {limits.max_prompt_bytes, limits.max_history_messages, limits.visitor_params});
  Bot& bot = visit.bot;
  parsed.question.bot = bot.name;
  if (bot.upstream.clients().empty()) throw not_configured(bot.config.targets);
  const auto key = state_.failed_streams.key(visit.request.visitor, parsed.question);
  // Only a whole answer repeats a failed stream; another stream is a new question.
  const auto failure = state_.failed_streams.take(key, Clock::now());
  if (failure && parsed.question.mode == AnswerMode::kJson && still_holds(*failure, bot))
    return repeat_failure(visit, *failure);
  try {
    StreamPermit permit = take_permit(bot);
    Admission admission = admit(visit, parsed.question, key);
    Headers headers = visit.headers;
    if (admission.cache == "hit") headers.emplace_back("X-Bailian-Cache", "hit");
    return std::make_unique<Chat>(
        loop_, board_, state_, visit.client, parsed.question,
        AdmittedChat{visit.request.request_id, visit.route.endpoint, snapshot_, bot, std::move(permit),
                     dialect, std::move(headers), key, std::move(parsed.writer), visit.request.visitor,
                     std::move(admission), flights_, pauses_});
  } catch (const HttpError& error) {
    if (error.forbids_retry() && parsed.question.mode == AnswerMode::kStream)
      state_.failed_streams.remember(key, {error, std::string(error.code())}, Clock::now());
    throw;
  }
}

// What the answer is read from, if other chats may read it too.
Admission Router::admit(const Visit& visit, const Question& question, FailedStreams::Key key) {
  const Request& request = visit.request;
  const Bot& bot = visit.bot;
  SharedAnswers::Request shared{{}, {}, key, request.is_no_cache};
  if (is_cacheable(question, bot.config))
    shared.cache_key = AnswerCache::Key{bot.answer_scope, std::string(trim(question.prompt))};
  if (!request.idempotency_key.empty())
    shared.idempotency_id = IdempotencyKeys::id(bot.name, request.visitor, request.idempotency_key);
  Admission admission = state_.answers.admit(std::move(shared), bot.config, loop_, Clock::now());
  if (admission.role != ReaderRole::kAsker) check_pause(bot);
  if (!admission.cache.empty()) state_.metrics.count_cacheable(bot.name, admission.cache);
  if (!admission.idempotent.empty()) state_.metrics.count_repeated(bot.name, admission.idempotent);
  if (admission.role == ReaderRole::kOther && state_.ledger != nullptr) state_.ledger->count_cached(bot.name);
  return admission;
}

// An answer that costs nothing is given even if the budget is used up, but not while the bot is paused.
void Router::check_pause(const Bot& bot) const {
  if (state_.ledger == nullptr) return;
  const auto refusal = state_.ledger->closed(bot.name);
  if (!refusal || refusal->cause != Refusal::Cause::kPaused) return;
  const HttpError error = to_http_error(*refusal);
  state_.metrics.count_refusal(bot.name, error.code());
  throw error;
}

bool Router::is_closed(const Bot& bot) const {
  return state_.ledger != nullptr && state_.ledger->closed(bot.name).has_value();
}

// A page that loads the profile may soon ask.
void Router::expect_question(const Request& request, Bot& bot) noexcept {
  if (state_.draining || state_.misconfigured || !is_allowed_origin(request, bot.config.allowed_origins))
    return;
  bot.upstream.expect_question(state_.metrics);
}

void Router::check_chat(const Visit& visit) const {
  const Request& request = visit.request;
  if (state_.misconfigured) throw misconfigured();
  if (!is_allowed_origin(request, visit.bot.config.allowed_origins))
    throw HttpError(403, "origin_not_allowed", "Origin not allowed");
  if (request.fault == RequestFault::kBadLength)
    throw HttpError(400, "invalid_request", "Content-Length is not the length of the body");
  if (request.fault == RequestFault::kBodyTooLarge) {
    throw HttpError(
        413, "too_large",
        fmt::format("Request too large: the body has more than {} bytes", config().max_body_bytes));
  }
}

// A refusal only while the ledger closes the bot for the same reason: else it decides about a new question.
bool Router::still_holds(const FailedStreams::Failure& failure, const Bot& bot) const {
  if (!failure.error.forbids_retry() || state_.ledger == nullptr) return true;
  const auto refusal = state_.ledger->closed(bot.name);
  return refusal && to_http_error(*refusal).code() == failure.error.code();
}

Reply Router::repeat_failure(const Visit& visit, const FailedStreams::Failure& failure) {
  state_.metrics.count_answered_fallback();
  Reply reply = visit.route.dialect->refuse(failure.error, visit.request.request_id, {});
  reply.upstream_code = failure.upstream_code;
  reply.detail = "the error of this question's stream; DashScope was not asked again";
  return reply;
}

StreamPermit Router::take_permit(Bot& bot) {
  StreamPermit permit = state_.refusing ? StreamPermit() : state_.take_permit(bot.streams);
  if (permit) return permit;
  if (!state_.refusing) board_.rejected += 1;
  throw HttpError(503, "overloaded", "Server busy");
}

}  // namespace bailian
