#include "chat/router.h"

#include <gtest/gtest.h>

#include <string>

#include "base/json.h"
#include "unit/chat/scripted_ledger.h"

namespace bailian {
namespace {

constexpr const char* kExposedHeaders = "X-Request-Id, Retry-After, x-should-retry, X-Bailian-Cache";

/// A browser that keeps everything it receives.
class Browser final : public ClientStream {
 public:
  void send(const Reply& reply) override { reply_ = reply; }
  void begin(const Reply& head) override { reply_ = head; }
  void write(std::string_view) override {}
  void abort() noexcept override {}
  void finish() override {}
  [[nodiscard]] size_t unsent_bytes() const override { return 0; }
  [[nodiscard]] uint64_t sent_bytes() const override { return 0; }

  [[nodiscard]] std::string header(std::string_view name) const {
    std::string values;
    for (const auto& [key, value] : reply_.headers) {
      if (key == name) values += (values.empty() ? "" : " + ") + value;
    }
    return values;
  }
  [[nodiscard]] std::string code() const {
    JsonDocument document;
    if (parse_json(reply_.body, document)) return "not JSON";
    const JsonValue* code = find_member(document, "code");
    return code != nullptr ? std::string(as_view(*code)) : "";
  }
  [[nodiscard]] std::string message() const {
    JsonDocument document;
    if (parse_json(reply_.body, document)) return "not JSON";
    const JsonValue* message = find_member(document, "message");
    return message != nullptr ? std::string(as_view(*message)) : "";
  }
  [[nodiscard]] int status() const { return reply_.status; }
  [[nodiscard]] Endpoint endpoint() const { return reply_.endpoint; }
  [[nodiscard]] const std::string& body() const { return reply_.body; }

 private:
  Reply reply_;
};

class Routes : public testing::Test {
 protected:
  Browser ask(const std::string& method, const std::string& path, const std::string& body = "") {
    request_.method = method;
    request_.path = path;
    request_.body = body;
    request_.request_id = "id";
    Browser browser;
    ServiceState shared(config_);
    shared.draining = draining_;
    shared.refusing = refusing_;
    shared.misconfigured = misconfigured_;
    shared.ledger = ledger_;
    Router router(loop_, config_, shared);
    router.handle(request_, browser);
    rejected_ = router.board().rejected.sum();
    return browser;
  }

  // A further bot, whose profile is its name.
  Config& add_bot(const std::string& name) {
    Config bot = config_;
    bot.name = name;
    bot.bots.clear();
    bot.bot_profile.json = name;
    config_.bots.push_back(std::move(bot));
    return config_.bots.back();
  }
  // The bot whose profile this is.
  std::string profile_of(const std::string& path, const std::string& host = "") {
    config_.bot_profile.json = "default";
    request_.host = host;
    const Browser browser = ask("GET", path);
    return browser.status() == 200 ? browser.body() : std::to_string(browser.status());
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Config config_ = load_config({"DASHSCOPE_BASE_URL=http://127.0.0.1:1"}, "/dev/null").config;
  Request request_;
  bool draining_ = false;
  bool refusing_ = false;
  bool misconfigured_ = false;
  Ledger* ledger_ = nullptr;
  uint64_t rejected_ = 0;  // by the last request's router
};

TEST_F(Routes, AreFoundWithPrefixAndTrailingSlash) {
  for (const char* path : {"/health", "/health/", "/wp-json/health", "/wp-json/health/"}) {
    EXPECT_EQ(ask("GET", path).status(), 200) << path;
  }
  for (const char* path :
       {"/myapi/v1/chat-bot", "/wp-json/myapi/v1/chat-bot/", "/myapi/v1/chat-bot/stream/"}) {
    EXPECT_EQ(ask("POST", path).body().find("No data provided"), 28U) << path;
  }
}

TEST_F(Routes, OthersAreNotFound) {
  for (const char* path :
       {"", "/", "//health", "/health//", "/healthy", "/wp-jsonhealth", "/wp-json", "/wp-json/wp-json/health",
        "/wp-json/status", "/metrics/", "/myapi/v1", "/myapi/v1/chat-bot/streams", "/HEALTH"}) {
    const Browser browser = ask("GET", path);
    EXPECT_EQ(browser.status(), 404) << path;
    EXPECT_EQ(browser.code(), "not_found");
  }
}

TEST_F(Routes, ThatNameABotAreThatBotsOrNotFound) {
  add_bot("help");
  add_bot("v1");
  const std::string config = "/v1/chat-bot-config";
  for (const auto& [path, bot] : {std::pair{"/myapi" + config, "default"},
                                  {"/myapi/bots/help" + config, "help"},
                                  {"/myapi/bots/help" + config + "/", "help"},
                                  {"/wp-json/myapi/bots/help" + config, "help"},
                                  {"/myapi/bots/v1" + config, "v1"},
                                  {"/myapi/bots/default" + config, "default"},
                                  {"/myapi/bots/other" + config, "404"},
                                  {"/myapi/bots/HELP" + config, "404"},
                                  {"/myapi/bots/help%20" + config, "404"},
                                  {"/myapi/bots/" + config, "404"},
                                  {"/myapi/bots" + config, "404"},
                                  {"/myapi/bots/help/" + config, "404"},
                                  {"/myapi/bots/help/bots/help" + config, "404"},
                                  {"/myapi/bots/help/x" + config, "404"},
                                  {"/myapi/bots/help", "404"},
                                  {"/myapi/bots/help/", "404"},
                                  {"/bots/help" + config, "404"},
                                  {std::string("/myapi/bots/help/health"), "404"},
                                  {std::string("/myapi/bots/help/status"), "404"},
                                  {"/myapi/bots/" + std::string(5000, 'a') + config, "404"}}) {
    EXPECT_EQ(profile_of(path), bot) << path.substr(0, 99);
  }
  const Browser unknown = ask("POST", "/myapi/bots/other/v1/chat-bot/stream");
  EXPECT_EQ(unknown.status(), 404);
  EXPECT_EQ(unknown.code(), "not_found");
  EXPECT_EQ(ask("GET", "/myapi/bots/help/v1/chat-bot").status(), 405);
  EXPECT_EQ(ask("OPTIONS", "/myapi/bots/other/v1/chat-bot").status(), 204);
}

TEST_F(Routes, WithoutANameAreOfTheHostsBot) {
  add_bot("help");
  config_.bot_hosts = {{"help.example", "help"}, {"main.example", "default"}};
  for (const auto& [host, bot] : {std::pair{"help.example", "help"},
                                  {"HELP.Example:8443", "help"},
                                  {"help.example.", "help"},
                                  {"main.example", "default"},
                                  {"", "default"},
                                  {"www.help.example", "default"},
                                  {"help.example.evil", "default"},
                                  {"help.example:", "help"},
                                  {":80", "default"},
                                  {"[::1]:80", "default"}}) {
    EXPECT_EQ(profile_of("/myapi/v1/chat-bot-config", host), bot) << host;
  }
  EXPECT_EQ(profile_of("/myapi/bots/default/v1/chat-bot-config", "help.example"), "default");
  EXPECT_EQ(profile_of("/myapi/bots/other/v1/chat-bot-config", "help.example"), "404");
}

TEST_F(Routes, EachBotHasItsOriginsAndLimits) {
  config_.targets[0].api_key = config_.targets[0].app_id = "x";
  config_.max_streams = 0;
  Config& shop = add_bot("shop");
  shop.allowed_origins = {"https://shop.example"};
  shop.max_prompt_bytes = 3;
  request_.origin = "https://other.example";
  const std::string shop_chat = "/myapi/bots/shop/v1/chat-bot";
  EXPECT_EQ(ask("POST", shop_chat).code(), "origin_not_allowed");
  EXPECT_EQ(ask("OPTIONS", shop_chat).header("Access-Control-Allow-Origin"), "");
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot", R"({"last_prompt":"four"})").code(), "overloaded");
  request_.origin = "https://shop.example";
  EXPECT_EQ(ask("OPTIONS", shop_chat).header("Access-Control-Allow-Origin"), "https://shop.example");
  EXPECT_EQ(ask("POST", shop_chat, R"({"last_prompt":"four"})").code(), "too_large");
  EXPECT_EQ(ask("POST", shop_chat, R"({"last_prompt":"one"})").code(), "overloaded");
}

TEST_F(Routes, NameTheMethodsTheyAllow) {
  const Browser get = ask("GET", "/myapi/v1/chat-bot");
  EXPECT_EQ(get.status(), 405);
  EXPECT_EQ(get.code(), "method_not_allowed");
  EXPECT_EQ(get.header("Allow"), "POST, OPTIONS");
  EXPECT_EQ(ask("POST", "/health").header("Allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(ask("", "/health").status(), 405);
  EXPECT_EQ(ask("ET", "/health").status(), 405);
}

TEST_F(Routes, PreflightsAllowTheHeadersTheyNameAsFarAsTheseAreNames) {
  const auto allowed = [&](const std::string& requested) {
    request_.requested_headers = requested;
    const Browser browser = ask("OPTIONS", "/myapi/v1/chat-bot");
    EXPECT_EQ(browser.status(), 204);
    return browser.header("Access-Control-Allow-Headers");
  };
  for (const char* names :
       {"baggage", "baggage,content-type,sentry-trace", "X-A, x-b ,traceparent", "x!#$%&'*+-.^_`|~9"}) {
    EXPECT_EQ(allowed(names), names);
  }
  const std::string usual =
      "Content-Type, Accept, Authorization, Cache-Control, Idempotency-Key, X-Requested-With, X-WP-Nonce";
  for (const std::string& nonsense :
       {std::string(), std::string(", ,"), std::string("a\r\nSet-Cookie: x"), std::string("a:b"),
        std::string("a;b"), std::string("\"a\""), std::string("a\tb"), std::string("a\0b", 3),
        std::string("\xc3\xa9"), std::string("*/x"), std::string(1025, 'x')}) {
    EXPECT_EQ(allowed(nonsense), usual) << nonsense.substr(0, 50);
  }
  EXPECT_EQ(allowed(std::string(1024, 'x')).size(), 1024U);
}

TEST_F(Routes, OnlyChatsHaveABody) {
  add_bot("shop");
  ServiceState shared(config_);
  const Router router(loop_, config_, shared);
  for (const char* path : {"/myapi/v1/chat-bot", "/wp-json/myapi/v1/chat-bot/stream/",
                           "/myapi/bots/shop/v1/chat-bot", "/myapi/bots/default/v1/chat-bot/stream"}) {
    EXPECT_TRUE(router.takes_body("POST", path));
    for (const char* method : {"GET", "OPTIONS", "PUT", ""}) EXPECT_FALSE(router.takes_body(method, path));
  }
  for (const char* path : {"/myapi/v1/nothing", "/health", "/myapi/v1/chat-bot-config", "/status", "",
                           "/myapi/bots/other/v1/chat-bot", "/myapi/bots//v1/chat-bot"}) {
    EXPECT_FALSE(router.takes_body("POST", path));
  }
}

TEST_F(Routes, PreflightsAreAnsweredEverywhere) {
  const Browser browser = ask("OPTIONS", "/anything");
  EXPECT_EQ(browser.status(), 204);
  EXPECT_EQ(browser.header("Access-Control-Max-Age"), "86400");
  EXPECT_EQ(browser.header("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(browser.header("Access-Control-Allow-Methods"), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(browser.header("X-Content-Type-Options"), "nosniff");
}

TEST_F(Routes, PreflightsAreNotCountedForTheirEndpoint) {
  EXPECT_EQ(ask("OPTIONS", "/myapi/v1/chat-bot").endpoint(), Endpoint::kUnknown);
  EXPECT_EQ(ask("GET", "/myapi/v1/chat-bot").endpoint(), Endpoint::kChat);
}

TEST_F(Routes, EveryAnswerHasTheCommonHeadersOnce) {
  for (const auto& [method, path] :
       {std::pair{"GET", "/health"}, {"GET", "/x"}, {"PUT", "/health"}, {"POST", "/myapi/v1/chat-bot"}}) {
    const Browser browser = ask(method, path);
    EXPECT_EQ(browser.header("Access-Control-Allow-Origin"), "*") << path;
    EXPECT_EQ(browser.header("Access-Control-Expose-Headers"), kExposedHeaders);
    EXPECT_EQ(browser.header("Vary"), "");
    EXPECT_EQ(browser.header("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(browser.header("X-Request-Id"), "id");
    EXPECT_EQ(browser.header("Content-Type"), "application/json");
    EXPECT_EQ(browser.header("Cache-Control"), "no-store");
  }
}

TEST_F(Routes, OnlyListedOriginsMayChat) {
  config_.allowed_origins = {"https://a.example"};
  request_.host = "site.example";
  request_.origin = "https://a.example";
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 400);
  EXPECT_EQ(ask("GET", "/health").header("Access-Control-Allow-Origin"), "https://a.example");
  EXPECT_EQ(ask("GET", "/health").header("Vary"), "Origin");
  request_.origin = "https://site.example";
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 400) << "the site's own pages";
  request_.origin = "";
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 400) << "no browser";
  for (const char* origin : {"https://b.example", "null", "https://a.example.evil", "http://a.example",
                             "site.example", "https://site.example.evil"}) {
    request_.origin = origin;
    const Browser browser = ask("POST", "/myapi/v1/chat-bot");
    EXPECT_EQ(browser.status(), 403) << origin;
    EXPECT_EQ(browser.code(), "origin_not_allowed");
    EXPECT_EQ(browser.header("Access-Control-Allow-Origin"), "");
    EXPECT_EQ(browser.header("Vary"), "Origin") << "else a cache would give this answer to a listed origin";
  }
}

TEST_F(Routes, ASiteWithHttpsIsAnotherOriginThanItsNameUnderHttp) {
  config_.allowed_origins = {"https://a.example"};
  request_.host = "site.example";
  request_.origin = "http://site.example";
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 400);
  request_.is_https = true;
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 403);
  request_.origin = "https://site.example";
  EXPECT_EQ(ask("POST", "/myapi/v1/chat-bot").status(), 400);
}

TEST_F(Routes, ProfileIsNotSentTwiceToOneWhoHasIt) {
  const Browser first = ask("GET", "/myapi/v1/chat-bot-config");
  EXPECT_EQ(first.status(), 200);
  EXPECT_EQ(first.body(), config_.bot_profile.json);
  EXPECT_EQ(first.header("Cache-Control"), "no-cache");
  const std::string etag = first.header("ETag");
  for (const std::string& known : {etag, "W/" + etag, "\"x\", " + etag, std::string("*"), " " + etag + " "}) {
    request_.if_none_match = known;
    const Browser again = ask("GET", "/myapi/v1/chat-bot-config");
    EXPECT_EQ(again.status(), 304) << known;
    EXPECT_EQ(again.header("ETag"), etag);
    EXPECT_EQ(again.body(), "");
  }
  for (const char* other : {"\"x\"", "", ",", "W/"}) {
    request_.if_none_match = other;
    EXPECT_EQ(ask("GET", "/myapi/v1/chat-bot-config").status(), 200) << other;
  }
}

TEST_F(Routes, ChatsNeedATargetWithAKeyAndAnApplication) {
  struct Keys {
    const char* api_key;
    const char* app_id;
  };
  const auto missing = [&](const std::vector<Keys>& targets) {
    config_.targets.clear();
    for (const auto& [api_key, app_id] : targets) {
      config_.targets.emplace_back();
      config_.targets.back().api_key = api_key;
      config_.targets.back().app_id = app_id;
    }
    const Browser browser = ask("POST", "/myapi/v1/chat-bot/stream", R"({"last_prompt":"x"})");
    EXPECT_EQ(browser.status(), 500);
    EXPECT_EQ(browser.code(), "not_configured");
    return browser.message();
  };
  EXPECT_EQ(missing({{"", ""}}), "API Key is not configured");
  EXPECT_EQ(missing({{"", "a"}}), "API Key is not configured");
  EXPECT_EQ(missing({{"k", ""}}), "App ID is not configured");
  EXPECT_EQ(missing({{"", "a"}, {"", "b"}}), "API Key is not configured");
  EXPECT_EQ(missing({{"", ""}, {"k", ""}}), "App ID is not configured");
  EXPECT_EQ(missing({{"k", ""}, {"", "b"}}), "API Key or App ID is not configured");
  EXPECT_EQ(missing({{"", "a"}, {"k", ""}}), "API Key or App ID is not configured");
}

TEST_F(Routes, ABodyOverTheLimitIsToldSo) {
  request_.fault = RequestFault::kBodyTooLarge;
  const Browser browser = ask("POST", "/myapi/v1/chat-bot");
  EXPECT_EQ(browser.status(), 413);
  EXPECT_EQ(browser.code(), "too_large");
}

TEST_F(Routes, AWrongContentLengthIsToldSo) {
  request_.fault = RequestFault::kBadLength;
  const Browser browser = ask("POST", "/myapi/v1/chat-bot");
  EXPECT_EQ(browser.status(), 400);
  EXPECT_EQ(browser.code(), "invalid_request");
}

TEST_F(Routes, TooManyHeadersAreToldSoWhateverIsAskedFor) {
  request_.fault = RequestFault::kParamsTooLarge;
  for (const char* method : {"GET", "POST", "OPTIONS"}) {
    const Browser browser = ask(method, "/myapi/v1/chat-bot");
    EXPECT_EQ(browser.status(), 431);
    EXPECT_EQ(browser.code(), "headers_too_large");
  }
}

TEST_F(Routes, WhileDrainingItIsHealthyButNotReady) {
  EXPECT_NE(ask("GET", "/ready").body().find("\"ready\""), std::string::npos);
  draining_ = true;
  const Browser ready = ask("GET", "/ready");
  EXPECT_EQ(ready.status(), 503);
  EXPECT_NE(ready.body().find("\"draining\""), std::string::npos);
  const Browser health = ask("GET", "/health");
  EXPECT_EQ(health.status(), 200);
  EXPECT_NE(health.body().find("\"draining\""), std::string::npos);
}

TEST_F(Routes, WithAFaultInTheSettingsItIsHealthyButNothingElse) {
  misconfigured_ = true;
  const Browser health = ask("GET", "/health");
  EXPECT_EQ(health.status(), 200);
  EXPECT_NE(health.body().find("\"misconfigured\""), std::string::npos);
  const Browser ready = ask("GET", "/ready");
  EXPECT_EQ(ready.status(), 503);
  EXPECT_NE(ready.body().find("\"misconfigured\""), std::string::npos);
  for (const auto& [method, path] :
       {std::pair{"GET", "/myapi/v1/chat-bot-config"}, {"POST", "/myapi/v1/chat-bot"}}) {
    const Browser browser = ask(method, path);
    EXPECT_EQ(browser.status(), 503) << path;
    EXPECT_EQ(browser.code(), "not_configured") << path;
  }
}

TEST_F(Routes, WithNobodyToTakeOverNoChatBegins) {
  draining_ = refusing_ = true;
  config_.targets[0].api_key = config_.targets[0].app_id = "x";
  const Browser chat = ask("POST", "/myapi/v1/chat-bot", R"({"last_prompt":"x"})");
  EXPECT_EQ(chat.status(), 503);
  EXPECT_EQ(chat.code(), "overloaded");
  EXPECT_EQ(chat.header("Retry-After"), "5");
  EXPECT_EQ(rejected_, 0U) << "these are the chats over MAX_STREAMS";
}

TEST_F(Routes, AChatOverTheLimitIsRejected) {
  config_.targets[0].api_key = config_.targets[0].app_id = "x";
  config_.max_streams = 0;
  const Browser chat = ask("POST", "/myapi/v1/chat-bot", R"({"last_prompt":"x"})");
  EXPECT_EQ(chat.status(), 503);
  EXPECT_EQ(chat.code(), "overloaded");
  EXPECT_EQ(rejected_, 1U);
}

TEST_F(Routes, ABotsLimitChangesOnlyWhenItsSettingsAreInUse) {
  add_bot("shop").max_streams = 5;
  ServiceState shared(config_);
  Router router(loop_, config_, shared);
  const StreamLimit& streams = shared.streams_of("shop");
  EXPECT_EQ(streams.limit(), 5);
  config_.bots.front().max_streams = 7;
  Tally received;
  const ConfigSnapshot unused(loop_, config_, shared, received);
  EXPECT_EQ(streams.limit(), 5);
  router.reload(config_);
  EXPECT_EQ(streams.limit(), 7);
}

TEST(StreamLimits, HandOutNoMoreThanTheirPlaces) {
  StreamLimit limit(2);
  const auto first = limit.take();
  EXPECT_EQ(limit.peak(), 1);
  {
    const auto second = limit.take();
    EXPECT_TRUE(second);
    EXPECT_EQ(limit.taken(), 2);
    EXPECT_FALSE(limit.take());
  }
  EXPECT_TRUE(limit.take());
  EXPECT_EQ(limit.peak(), 2);
}

// --- the budget ---

class PaidRoutes : public Routes {
 protected:
  PaidRoutes() {
    ledger_ = &fake_;
    config_.targets.front().api_key = "sk-0123456789abcdef";
    config_.targets.front().app_id = "app";
  }
  int ready() { return ask("GET", "/ready").status(); }

  ScriptedLedger fake_;
};

TEST_F(PaidRoutes, ARefusalSaysWhenToComeBackAndNotToRepeatItByItself) {
  fake_.refusal = {Refusal::Cause::kUsedUp, std::chrono::seconds(3600)};
  for (const char* path : {"/myapi/v1/chat-bot", "/myapi/v1/chat-bot/stream"}) {
    const Browser browser = ask("POST", path, R"({"last_prompt":"four"})");
    EXPECT_EQ(browser.status(), 429);
    EXPECT_EQ(browser.code(), "budget_used_up");
    EXPECT_EQ(browser.header("Retry-After"), "3600");
    EXPECT_EQ(browser.header("x-should-retry"), "false");
  }
  fake_.refusal->retry_after = std::chrono::seconds(0);
  const Browser closed = ask("POST", "/myapi/v1/chat-bot", R"({"last_prompt":"four"})");
  EXPECT_EQ(closed.status(), 429);
  EXPECT_EQ(closed.header("Retry-After"), "") << "no time is known";
  fake_.refusal = {Refusal::Cause::kPaused, {}, "back on Monday"};
  const Browser paused = ask("POST", "/myapi/v1/chat-bot", R"({"last_prompt":"four"})");
  EXPECT_EQ(paused.status(), 503);
  EXPECT_EQ(paused.code(), "paused");
  EXPECT_EQ(paused.message(), "back on Monday");
  EXPECT_EQ(paused.header("Retry-After"), "");
  EXPECT_EQ(paused.header("x-should-retry"), "false");
}

TEST_F(PaidRoutes, AFallbackOfARefusedStreamIsNotCountedAgain) {
  fake_.refusal = {Refusal::Cause::kUsedUp, std::chrono::seconds(3600)};
  request_.method = "POST";
  request_.path = "/myapi/v1/chat-bot/stream";
  request_.body = R"({"last_prompt":"four"})";
  ServiceState shared(config_);
  shared.ledger = ledger_;
  Router router(loop_, config_, shared);
  Browser browser;
  router.handle(request_, browser);
  EXPECT_EQ(std::exchange(fake_.log, {}), "take;refused;");
  request_.path = "/myapi/v1/chat-bot";
  fake_.closed_by = std::exchange(fake_.refusal, std::nullopt);
  router.handle(request_, browser);
  EXPECT_EQ(browser.code(), "budget_used_up");
  EXPECT_EQ(browser.header("x-should-retry"), "false");
  EXPECT_EQ(fake_.log, "");
  EXPECT_EQ(shared.streams.taken(), 0);
}

TEST_F(PaidRoutes, AFallbackIsANewQuestionOnceItsRefusalNoLongerHolds) {
  request_.method = "POST";
  request_.body = R"({"last_prompt":"four"})";
  ServiceState shared(config_);
  shared.ledger = ledger_;
  Router router(loop_, config_, shared);
  using enum Refusal::Cause;
  for (const Refusal::Cause cause : {kPaused, kUsedUp, kVisitorUsedUp, kUnknown}) {
    const auto fail_a_stream = [&] {
      Browser browser;
      fake_.refusal = {cause};
      fake_.closed_by = cause == kVisitorUsedUp ? std::nullopt : fake_.refusal;
      request_.path = "/myapi/v1/chat-bot/stream";
      router.handle(request_, browser);
      EXPECT_GE(browser.status(), 429);
      request_.path = "/myapi/v1/chat-bot";
      fake_.log.clear();
    };
    fail_a_stream();
    fake_.refusal.reset();
    fake_.closed_by.reset();
    Browser browser;
    EXPECT_TRUE(router.handle(request_, browser)) << "it is open again";
    EXPECT_EQ(fake_.log, "take;free;");

    fail_a_stream();
    const bool is_paused = cause == kPaused;
    fake_.refusal = fake_.closed_by = {is_paused ? kUsedUp : kPaused};
    EXPECT_FALSE(router.handle(request_, browser));
    EXPECT_EQ(browser.code(), is_paused ? "budget_used_up" : "paused");
    EXPECT_EQ(fake_.log, "take;refused;");
  }
}

TEST_F(PaidRoutes, AQuestionThatAnotherProcessIsAnsweringMayBeRepeated) {
  fake_.refusal = {Refusal::Cause::kUnderWay, std::chrono::seconds(1)};
  request_.method = "POST";
  request_.body = R"({"last_prompt":"four"})";
  request_.visitor = "192.0.2.1";
  request_.idempotency_key = "k";
  ServiceState shared(config_);
  shared.ledger = ledger_;
  Router router(loop_, config_, shared);
  for (const char* path : {"/myapi/v1/chat-bot/stream", "/myapi/v1/chat-bot"}) {
    request_.path = path;
    Browser browser;
    router.handle(request_, browser);
    EXPECT_EQ(browser.status(), 409);
    EXPECT_EQ(browser.code(), "idempotency_in_progress");
    EXPECT_EQ(browser.header("Retry-After"), "1");
    EXPECT_EQ(browser.header("x-should-retry"), "");
    EXPECT_EQ(std::exchange(fake_.log, {}), "take;") << "the key is free, and no failure is repeated";
    EXPECT_EQ(fake_.idempotency_id, "default 192.0.2.1 k");
  }
  EXPECT_EQ(shared.streams.taken(), 0);
}

TEST_F(PaidRoutes, TheProfileOfAClosedBotSaysOffline) {
  config_.bot_profile.json = R"({"botStatus":1,"x":2})";
  config_.bot_profile.etag = "\"online\"";
  EXPECT_EQ(ask("GET", "/myapi/v1/chat-bot-config").body(), config_.bot_profile.json);
  fake_.closed_by = {Refusal::Cause::kPaused};
  request_.if_none_match = config_.bot_profile.etag;
  const Browser closed = ask("GET", "/myapi/v1/chat-bot-config");
  EXPECT_EQ(closed.status(), 200) << "the tag has changed too";
  EXPECT_EQ(closed.body(), R"({"botStatus":0,"x":2})");
  request_.if_none_match = closed.header("ETag");
  EXPECT_EQ(ask("GET", "/myapi/v1/chat-bot-config").status(), 304);
  fake_.closed_by.reset();
  EXPECT_EQ(ask("GET", "/myapi/v1/chat-bot-config").body(), config_.bot_profile.json);
}

TEST_F(PaidRoutes, ReadyDependsOnALedgerThatIsNeeded) {
  fake_.its_fault = "cannot write";
  EXPECT_EQ(ready(), 200) << "there is no cap";
  config_.caps.month = 5;
  EXPECT_EQ(ready(), 503);
  EXPECT_NE(ask("GET", "/ready").body().find(R"("status":"budget_unknown")"), std::string::npos);
  EXPECT_EQ(ask("GET", "/health").status(), 200);
  config_.caps_open_on_fault = true;
  EXPECT_EQ(ready(), 200);
  config_.caps_open_on_fault = false;
  fake_.its_fault = "";
  EXPECT_EQ(ready(), 200);
}

}  // namespace
}  // namespace bailian
