// The include that we ship for existing sites, in such a site.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/existing_site.h"

namespace bailian::e2e {
namespace {

constexpr const char* kExposedHeaders = "X-Request-Id, Retry-After, x-should-retry, X-Bailian-Cache";

class NginxInclude : public ExistingSite {
 protected:
  void SetUp() override { start_nginx(); }

  Exchange send(std::string_view method, std::string path, std::string body = {},
                Headers headers = {}) const {
    return browser().send({std::string(method), std::move(path), std::move(headers), std::move(body)});
  }
};

TEST_F(NginxInclude, ServesTheChatBesideTheSite) {
  start_responder();
  auto exchange = stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(exchange.headers().get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(exchange.headers().get("Cache-Control"), "no-cache, no-transform");
  EXPECT_TRUE(reaches_php("/"));
}

TEST_F(NginxInclude, TakesEveryFormOfTheOldPaths) {
  start_responder();
  for (const char* before : {"/myapi/", "/wp-json/myapi/", "/index.php/wp-json/myapi/",
                             "/blog/wp-json/myapi/", "/?rest_route=/myapi/", "/index.php?rest_route=/myapi/",
                             "/?rest_route=%2Fmyapi%2F", "/blog/index.php?lang=zh&rest_route=%2fmyapi/"}) {
    const bool is_argument = std::string_view(before).find("rest_route") != std::string_view::npos;
    for (const char* end : {"", "/", is_argument ? "&_locale=user" : "?_locale=user"}) {
      auto path = [&](const char* route) { return std::string(before).append(route).append(end); };
      SCOPED_TRACE(path(""));
      const auto body = chat_body("[[sim events=2]]");
      EXPECT_EQ(browser().get(path("v1/chat-bot-config")).status, 200);
      EXPECT_EQ(browser().post(path("v1/chat-bot"), body).status, 200);
      EXPECT_EQ(read_stream(send("POST", path("v1/chat-bot/stream"), body)).text, tokens(2));
    }
  }
  EXPECT_EQ(read_stream(
                send("POST", "/?rest_route=%2Fmyapi%2Fv1%2Fchat-bot%2Fstream", chat_body("[[sim events=2]]")))
                .text,
            tokens(2));
  EXPECT_EQ(browser().get("/health").status, 200);
  EXPECT_EQ(browser().get("/wp-json/health/").status, 200);
  expect_error(browser().get("/?rest_route=/myapi/v1/nothing"), 404, "not_found", "Endpoint not found");
}

// With and without pretty permalinks of WordPress.
TEST_F(NginxInclude, TakesThePathsOfBots) {
  std::filesystem::create_directory(dir_.file("bots.d"));
  dir_.write("bots.d/shop.env", "APP_ID=" + std::string(kAppId) + "\n");
  start_responder({{"BOTS_DIR", "bots.d"}});
  for (const char* before : {"/myapi/bots/shop/", "/wp-json/myapi/bots/shop/",
                             "/?rest_route=/myapi/bots/shop/", "/?rest_route=%2Fmyapi%2Fbots%2Fshop%2F",
                             "/blog/index.php?lang=zh&rest_route=%2fmyapi/bots%2fshop/"}) {
    const bool is_argument = std::string_view(before).find("rest_route") != std::string_view::npos;
    for (const char* end : {"", "/", is_argument ? "&_locale=user" : "?_locale=user"}) {
      auto path = [&](const char* route) { return std::string(before).append(route).append(end); };
      SCOPED_TRACE(path(""));
      const auto body = chat_body("[[sim events=2]]");
      const auto profile = browser().get(path("v1/chat-bot-config"));
      EXPECT_EQ(profile.status, 200);
      EXPECT_EQ(profile.headers.get("Cache-Control"), "max-age=60");
      const auto whole = browser().post(path("v1/chat-bot"), body);
      EXPECT_EQ(whole.status, 200);
      EXPECT_EQ(text_at(responder_->request_line(whole.headers.get("X-Request-Id")), "/bot"), "shop");
      EXPECT_EQ(read_stream(send("POST", path("v1/chat-bot/stream"), body)).text, tokens(2));
    }
  }
  for (const char* path : {"/?rest_route=/myapi/bots/other/v1/chat-bot-config",
                           "/?rest_route=/myapi/bots/shop/v1/nothing", "/?rest_route=/myapi/bots/shop"}) {
    expect_error(browser().get(path), 404, "not_found", "Endpoint not found");
  }
}

TEST_F(NginxInclude, LeavesEverythingElseToTheSite) {
  start_responder();
  for (const char* path : {"/",
                           "/index.php",
                           "/wp-json/",
                           "/wp-json/wp/v2/posts",
                           "/?rest_route=/",
                           "/?rest_route=/wp/v2/posts",
                           "/?rest_route=/wp/v2/myapi/v1/chat-bot",
                           "/?rest_route=/bots/shop/v1/chat-bot",
                           "/?rest_route=/wp/v2/myapi/bots/shop/v1/chat-bot",
                           "/?s=rest_route=/myapi/v1/chat-bot",
                           "/myapi",
                           "/myapis/",
                           "/shop/myapi/v1/chat-bot",
                           "/MYAPI/v1/chat-bot",
                           "/health/",
                           "/healthy",
                           "/HEALTH",
                           "/ready",
                           "/our-health",
                           "/wp-login.php?rest_route=/myapi/v1/x",
                           "/page?x=/?rest_route=/myapi/v1/chat-bot"}) {
    EXPECT_TRUE(reaches_php(path)) << path;
  }
  EXPECT_EQ(simulator_.count("requests"), 0);
}

TEST_F(NginxInclude, PassesOurOwnErrorsOnAsTheyAre) {
  start_responder({{"UPSTREAM_RETRIES", "0"}, {"MAX_STREAMS", "1"}});
  const auto failed = stream("[[sim status=401 code=InvalidApiKey framing=json]]").read_all();
  expect_error(failed, 502, "upstream_auth", "Authentication failed");
  EXPECT_EQ(failed.headers.get("Access-Control-Allow-Origin"), "*");
  expect_error(browser().post(kChatPath, "{}"), 400, "invalid_request", "No data provided");
  expect_error(browser().get("/myapi/v1/nothing"), 404, "not_found", "Endpoint not found");
  auto first = stream("[[sim events=2 hold=1]]");
  read_text(first);
  const auto busy = stream("[[sim events=2]]").read_all();
  expect_error(busy, 503, "overloaded", "Server busy");
  EXPECT_EQ(busy.headers.count("Retry-After"), 1U);
  EXPECT_EQ(busy.headers.get("Access-Control-Expose-Headers"), kExposedHeaders);
}

TEST_F(NginxInclude, SaysSoInJsonWhenTheResponderIsDown) {
  for (const char* path : {kStreamPath, kChatPath, "/?rest_route=/myapi/v1/chat-bot"}) {
    const auto answer = browser().post(path, chat_body("hello"), {{"Origin", "https://shop.example"}});
    expect_error(answer, 502, "upstream_error", "Connection failed");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
    EXPECT_EQ(answer.headers.get("Access-Control-Expose-Headers"), kExposedHeaders);
    EXPECT_EQ(answer.headers.count("Retry-After"), 0U);
  }
}

// Otherwise the browser would not send the request whose error it could show.
TEST_F(NginxInclude, AnswersPreflightsWhenTheResponderIsDown) {
  for (const char* path :
       {kStreamPath, "/blog/wp-json/myapi/v1/chat-bot", "/?rest_route=/myapi/v1/chat-bot"}) {
    const auto answer = send("OPTIONS", path, "",
                             {{"Origin", "https://shop.example"},
                              {"Access-Control-Request-Method", "POST"},
                              {"Access-Control-Request-Headers", "content-type"}})
                            .read_all();
    EXPECT_EQ(answer.status, 204) << path;
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
    EXPECT_EQ(answer.headers.get("Access-Control-Max-Age"), "0");
  }
}

TEST_F(NginxInclude, AllowsWhatTheResponderAllowsInPreflights) {
  const std::vector<Headers> asked = {{},
                                      {{"Access-Control-Request-Headers", "baggage,sentry-trace"}},
                                      {{"Access-Control-Request-Headers", "x:y"}}};
  std::vector<Response> down;
  for (const auto& headers : asked) down.push_back(send("OPTIONS", kChatPath, "", headers).read_all());
  start_responder();
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto up = send("OPTIONS", kChatPath, "", asked[i]).read_all();
    EXPECT_EQ(up.status, 204);
    for (const char* header : {"Access-Control-Allow-Methods", "Access-Control-Allow-Headers"})
      EXPECT_EQ(down[i].headers.get(header), up.headers.get(header));
  }
}

std::string many_names(int count) {
  std::string names = "a0";
  for (int i = 1; i < count; ++i) names += ",a" + std::to_string(i);
  return names;
}

// As tracing in the browser adds it to each request.
TEST_F(NginxInclude, AllowsTheHeadersThatAPreflightNamesWhenTheResponderIsDown) {
  auto allowed = [this](const std::string& names) {
    const auto answer =
        send("OPTIONS", kChatPath, "", {{"Access-Control-Request-Headers", names}}).read_all();
    EXPECT_EQ(answer.status, 204) << names;
    return answer.headers.get("Access-Control-Allow-Headers");
  };
  const auto always = send("OPTIONS", kChatPath).read_all().headers.get("Access-Control-Allow-Headers");
  for (const auto& names : std::vector<std::string>{"baggage,sentry-trace,traceparent", "x-a, x-b",
                                                    "!#$%&'*+-.^_`|~9A", many_names(200)})
    EXPECT_EQ(allowed(names), names);
  for (const auto& names :
       std::vector<std::string>{"a b", "a,,b", ",", "a,", "x:y", "x\"y", "x;y", "*/*", "\xe4",
                                many_names(400), std::string(1025, 'a'), std::string(3000, 'a')})
    EXPECT_EQ(allowed(names), always) << names;
}

TEST_F(NginxInclude, SaysSoInJsonWhenTheBodyIsTooLarge) {
  start_responder();
  const auto answer = browser().post(kChatPath, std::string(1'100'000, ' '));
  expect_error(answer, 413, "too_large", "Request too large");
  EXPECT_EQ(text_at(answer.json(), "/message"), "Request too large") << "nginx's own";
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  expect_error(browser().post(kChatPath, std::string(1'000'000, ' ')), 400, "invalid_request",
               "Invalid JSON");
}

TEST_F(NginxInclude, WaitsLongerForAWholeAnswerThanTheSiteForItsPhp) {
  start_responder();
  EXPECT_EQ(browser().post(kChatPath, chat_body("[[sim events=1 delay=1500]]")).status, 200);
}

TEST_F(NginxInclude, LetsTheResponderKnowWhenTheVisitorLeaves) {
  start_responder();
  auto exchange = stream("[[sim events=5 hold=0]]");
  EXPECT_TRUE(simulator_.reaches("held", 1));
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

TEST_F(NginxInclude, CompressesNothing) {
  start_responder();
  for (const char* path : {kStreamPath, kChatPath}) {
    const auto answer =
        browser().post(path, chat_body("[[sim events=200 interval=0]]"), {{"Accept-Encoding", "gzip"}});
    EXPECT_EQ(answer.headers.count("Content-Encoding"), 0U) << path;
  }
}

TEST_F(NginxInclude, SpendsAPageOfMemoryOnAStream) {
  const ScriptedFcgi responder(listen_on_unix(dir_.socket("fcgi")));
  auto exchange = send("GET", kHealthPath);
  const std::string body(60'000, 'x');
  responder.accept().answer(body);
  EXPECT_EQ(exchange.read_all().body, body);
  for (const auto& chunk : exchange.chunks()) EXPECT_LE(chunk.size(), 4096U);
}

TEST_F(NginxInclude, LetsTheProfileBeKeptForAMinute) {
  start_responder();
  for (const char* path :
       {kConfigPath, "/myapi/v1/chat-bot-config/?x=y", "/wp-json/myapi/v1/chat-bot-config",
        "/blog/index.php/wp-json/myapi/v1/chat-bot-config/", "/?rest_route=%2Fmyapi%2Fv1%2Fchat-bot-config",
        "/index.php?rest_route=/myapi/v1/chat-bot-config/", "/myapi/v1/chat%2Dbot-config"}) {
    const auto answer = browser().get(path);
    EXPECT_EQ(answer.headers.get("Cache-Control"), "max-age=60") << path;
    const auto again = send("GET", path, "", {{"If-None-Match", answer.headers.get("ETag")}}).read_all();
    EXPECT_EQ(again.status, 304);
    EXPECT_EQ(again.headers.get("Cache-Control"), "max-age=60");
  }
}

TEST_F(NginxInclude, LetsNothingElseBeKept) {
  start_responder();
  for (const auto& answer : {browser().get(kHealthPath), browser().post(kChatPath, "{}"),
                             browser().post(kChatPath, chat_body("[[sim events=1]]"))}) {
    EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  }
  responder_->process().signal(SIGTERM);
  EXPECT_EQ(responder_->process().wait(), 0);
  const auto down = browser().get(kHealthPath);
  expect_error(down, 502, "upstream_error", "Connection failed");
  EXPECT_EQ(down.headers.get("Cache-Control"), "no-store");
}

TEST_F(NginxInclude, LetsNothingBeKeptForTheNameOfTheProfileInAnAddress) {
  start_responder();
  for (const char* name : {"?chat-bot-config", "?/myapi/v1/chat-bot-config", "?x=y&chat-bot-config="}) {
    SCOPED_TRACE(name);
    const auto path = [&](const char* route) { return route + std::string(name); };
    auto exchange = send("POST", path(kStreamPath), chat_body("[[sim events=1]]"));
    read_stream(exchange);
    EXPECT_EQ(exchange.headers().get("Cache-Control"), "no-cache, no-transform");
    EXPECT_EQ(exchange.headers().count("Expires"), 0U);
    for (const auto& answer :
         {browser().get(path(kHealthPath)), browser().post(path(kChatPath), chat_body("[[sim events=1]]")),
          browser().post(std::string("/?rest_route=/myapi/v1/chat-bot&") + (name + 1),
                         chat_body("[[sim events=1]]"))}) {
      EXPECT_EQ(answer.status, 200);
      EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
      EXPECT_EQ(answer.headers.count("Expires"), 0U);
    }
  }
  EXPECT_EQ(send("OPTIONS", kConfigPath).read_all().headers.count("Cache-Control"), 0U);
}

TEST_F(NginxInclude, SendsNoHeaderTwice) {
  start_responder();
  for (const auto& answer :
       {browser().get(kConfigPath), browser().get("/myapi/v1/nothing"), stream("[[sim events=1]]").read_all(),
        send("OPTIONS", kChatPath).read_all(), browser().post(kChatPath, std::string(1'100'000, ' '))}) {
    for (const auto& [name, value] : answer.headers) EXPECT_EQ(answer.headers.count(name), 1U) << name;
  }
}

class NginxEdited : public ExistingSite {};

TEST_F(NginxEdited, EveryLineThatIsOffCanBeTurnedOn) {
  start_nginx({.limits = {{{"#set_real_ip_from", "set_real_ip_from"},
                           {"#real_ip_header", "real_ip_header"},
                           {"#real_ip_recursive", "real_ip_recursive"},
                           {"#server ", "server "}}}});
  const auto log = nginx_->process().err().text();
  for (const char* word : {"[warn]", "[error]", "[emerg]"}) EXPECT_EQ(log.find(word), log.npos) << log;
}

TEST_F(NginxEdited, LocationsOfTheSiteMayTakePrecedence) {
  start_responder();
  start_nginx({.listen = R"(
    location = /health { return 200 site; }
    location = /myapi/v1/exact { return 200 site; }
    location ^~ /myapi/v2/ { return 200 site; }
    location ~ ^/myapi/v1/early { return 200 site; }
)"});
  for (const char* path :
       {"/health", "/myapi/v1/exact", "/wp-json/myapi/v1/exact", "/myapi/v2/x", "/myapi/v1/early"})
    EXPECT_EQ(browser().get(path).body, "site") << path;
  EXPECT_EQ(text_at(browser().get("/wp-json/health").json(), "/status"), "healthy");
  EXPECT_EQ(browser().get(kConfigPath).status, 200);
}

TEST_F(NginxEdited, LogsTheIdThatTheVisitorIsTold) {
  start_responder();
  start_nginx({.edits = {{"REQUEST_ID $request_id", "REQUEST_ID nginx-$request_id"}}});
  const auto answer = browser().get("/?rest_route=/myapi/v1/chat-bot-config");
  const auto id = answer.headers.get("X-Request-Id");
  EXPECT_TRUE(id.starts_with("nginx-")) << id;
  EXPECT_EQ(text_at(responder_->request_line(id), "/path"), "/myapi/v1/chat-bot-config/");
}

TEST_F(NginxEdited, AResponderThatTakesTooLongIsATimeout) {
  start_responder();
  start_nginx({.edits = {{"fastcgi_read_timeout 310s", "fastcgi_read_timeout 1s"}}});
  const auto answer = browser().post(kChatPath, chat_body("[[sim fault=hang]]"));
  expect_error(answer, 504, "upstream_timeout", "Connection timeout");
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
}

// An nginx that keeps connections to the responder (keepalive).
TEST(NginxKeepalive, ServesAndCancelsAsEver) {
  Site site;
  Nginx keeping(site.dir(), "keeping",
                "  fastcgi_keep_conn on;\n  upstream responder { server unix:" + site.dir().socket("fcgi") +
                    "; keepalive 4; }\n" + stock_server("unix:" + site.dir().socket("keeping"), "responder"));
  const Browser browser({.unix_path = site.dir().socket("keeping")});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(browser.get(kHealthPath).status, 200);
    EXPECT_EQ(browser.post(kChatPath, chat_body("[[sim events=2]]")).status, 200);
    EXPECT_EQ(browser.post(kChatPath, "{}").status, 400);
    EXPECT_EQ(read_stream(browser.send(
                              {.method = "POST", .path = kStreamPath, .body = chat_body("[[sim events=2]]")}))
                  .text,
              tokens(2));
  }
  auto exchange =
      browser.send({.method = "POST", .path = kStreamPath, .body = chat_body("[[sim events=2 hold=1]]")});
  EXPECT_EQ(read_text(exchange), "tok1 ");
  exchange.close();
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

}  // namespace
}  // namespace bailian::e2e
