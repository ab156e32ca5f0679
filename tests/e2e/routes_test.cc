// Paths, methods, CORS, health and the bot profile.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

using Names = std::vector<std::string>;

class Routes : public SharedSite<Routes> {};

TEST_F(Routes, HealthSaysWhoIsHealthy) {
  const auto answer = site().get(kHealthPath);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.headers.get("Content-Type").starts_with("application/json"));
  EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(answer.headers.get("X-Request-Id"), answer.headers.get("X-Nginx-Request-Id"));
  const auto json = answer.json();
  EXPECT_EQ(member_names(json), (Names{"status", "service", "version"}));
  EXPECT_EQ(text_at(json, "/status"), "healthy");
  EXPECT_EQ(text_at(json, "/service"), "Bailian-chatbot-backend");
  EXPECT_EQ(text_at(json, "/version"), BAILIAN_VERSION);
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(Routes, PathsHaveAnOptionalPrefixAndOneOptionalSlash) {
  for (const char* prefix : {"", "/wp-json"}) {
    for (const char* slash : {"", "/", "?a=b&c=d", "/?_locale=user"}) {
      SCOPED_TRACE(std::string(prefix) + "..." + slash);
      EXPECT_EQ(site().get(prefix + std::string(kHealthPath) + slash).status, 200);
      EXPECT_EQ(site().get(prefix + std::string(kConfigPath) + slash).status, 200);
      const auto body = chat_body("[[sim events=2]]");
      EXPECT_EQ(site().post(prefix + std::string(kChatPath) + slash, body).status, 200);
      EXPECT_EQ(read_stream(
                    site().browser().send(
                        {.method = "POST", .path = prefix + std::string(kStreamPath) + slash, .body = body}))
                    .text,
                tokens(2));
    }
  }
}

TEST_F(Routes, OtherPathsAreNotFound) {
  for (const char* path : {"/", "/index.html", "/wp-json", "/wp-json/", "/healthy", "/HEALTH", "/myapi/v1",
                           "/myapi/v1/chat-bot/stream/more", "/myapi/v2/chat-bot", "/wp-json/wp-json/health",
                           "/xhealth", "/wp-jsonhealth", "/%00", "/health%00"}) {
    SCOPED_TRACE(path);
    const auto answer = site().get(path);
    if (answer.status == 400 && std::string(path).find("%00") != std::string::npos) continue;  // nginx's own
    expect_error(answer, 404, "not_found", "Endpoint not found");
    EXPECT_EQ(text_at(answer.json(), "/message"), "Endpoint not found");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  }
  expect_error(site().post("/nothing", chat_body("hello")), 404, "not_found", "Endpoint not found");
}

struct WrongMethod {
  const char* method;
  const char* path;
  const char* allowed;
};

TEST_F(Routes, WrongMethodsSayWhichAreRight) {
  const WrongMethod table[] = {
      {"GET", kStreamPath, "POST"},  {"PUT", kStreamPath, "POST"}, {"GET", kChatPath, "POST"},
      {"DELETE", kChatPath, "POST"}, {"POST", kConfigPath, "GET"}, {"POST", kHealthPath, "GET"},
      {"PATCH", kHealthPath, "GET"},
  };
  for (const auto& [method, path, allowed] : table) {
    SCOPED_TRACE(std::string(method) + " " + path);
    const auto answer = site().browser().fetch({.method = method, .path = path});
    expect_error(answer, 405, "method_not_allowed", "Method not allowed");
    EXPECT_EQ(text_at(answer.json(), "/message"), "Method not allowed");
    EXPECT_NE(answer.headers.get("Allow").find(allowed), std::string::npos) << answer.headers.get("Allow");
  }
}

TEST_F(Routes, HeadAnswersWithoutABody) {
  for (const char* path : {kHealthPath, kConfigPath}) {
    const auto answer = site().browser().fetch({.method = "HEAD", .path = path});
    EXPECT_EQ(answer.status, 200) << path;
    FcgiPeer peer(site().fastcgi());
    peer.send(fcgi::request("HEAD", path));
    EXPECT_EQ(peer.read_reply().response.body, "") << path;
  }
}

TEST_F(Routes, EveryPathAnswersAPreflight) {
  for (const char* path :
       {kStreamPath, kChatPath, kConfigPath, kHealthPath, "/anything", "/wp-json/myapi/v1/chat-bot/"}) {
    SCOPED_TRACE(path);
    const auto answer =
        site().browser().fetch({.method = "OPTIONS",
                                .path = path,
                                .headers = {{"Origin", "https://shop.example"},
                                            {"Access-Control-Request-Method", "POST"},
                                            {"Access-Control-Request-Headers", "baggage,content-type"}}});
    EXPECT_EQ(answer.status, 204);
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
    EXPECT_NE(answer.headers.get("Access-Control-Allow-Methods").find("POST"), std::string::npos);
    EXPECT_NE(answer.headers.get("Access-Control-Allow-Methods").find("GET"), std::string::npos);
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Headers"), "baggage,content-type");
    EXPECT_EQ(answer.headers.get("Access-Control-Max-Age"), "86400");
    EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(answer.body, "");
  }
}

TEST_F(Routes, EveryOriginIsWelcomeByDefault) {
  const Headers origin{{"Origin", "https://shop.example"}};
  for (const auto& answer :
       {site().browser().fetch({.path = kHealthPath, .headers = origin}),
        site().browser().fetch({.path = kConfigPath, .headers = origin}),
        site().browser().fetch({.path = "/nothing", .headers = origin}), site().post(kChatPath, "{}", origin),
        site().post(kChatPath, chat_body("[[sim events=1]]"), origin),
        site().post(kStreamPath, chat_body("[[sim events=1]]"), origin)}) {
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*") << answer.body;
  }
}

TEST_F(Routes, WithoutAProfileTheOldDefaultsAreShown) {
  const auto answer = site().get(kConfigPath);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.headers.get("Content-Type").starts_with("application/json"));
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-cache");
  const auto json = answer.json();
  EXPECT_EQ(member_names(json), (Names{"botStatus", "StartUpMessage", "fontSize", "userAvatarURL",
                                       "botImageURL", "commonButtons"}));
  EXPECT_EQ(number_at(json, "/botStatus"), 0);
  EXPECT_EQ(text_at(json, "/StartUpMessage"), "Hi, How are you?");
  EXPECT_EQ(text_at(json, "/fontSize"), "16");
  EXPECT_TRUE(at(json, "/userAvatarURL").IsString());
  EXPECT_TRUE(at(json, "/botImageURL").IsString());
  EXPECT_TRUE(at(json, "/commonButtons").IsArray());
  for (const auto& button : at(json, "/commonButtons").GetArray())
    EXPECT_EQ(member_names(button), (Names{"buttonText", "buttonPrompt"}));
}

TEST_F(Routes, AProfileTheBrowserHasIsNotSentAgain) {
  const auto etag = site().get(kConfigPath).headers.get("ETag");
  ASSERT_FALSE(etag.empty());
  for (const std::string& match : {etag, "\"other\", " + etag, std::string("*")}) {
    SCOPED_TRACE(match);
    const auto answer = site().browser().fetch({.path = kConfigPath, .headers = {{"If-None-Match", match}}});
    EXPECT_EQ(answer.status, 304);
    EXPECT_EQ(answer.headers.get("ETag"), etag);
    EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  }
  EXPECT_EQ(site().browser().fetch({.path = kConfigPath, .headers = {{"If-None-Match", "\"x\""}}}).status,
            200);
}

TEST(BotProfile, ComesFromItsFile) {
  const std::string profile = R"({"botStatus":1,"StartUpMessage":"你好 👋","fontSize":"18",)"
                              R"("userAvatarURL":"https://cdn.example/u.png","botImageURL":"/bot.png",)"
                              R"("commonButtons":[{"buttonText":"价格","buttonPrompt":"价格是多少？"}]})";
  const WorkDir dir;
  Site site({.settings = {{"BOT_CONFIG_FILE", dir.write("bot.json", profile)}}});
  const auto answer = site.get(kConfigPath);
  EXPECT_TRUE(is_json(answer.json(), profile));
  EXPECT_NE(answer.body.find("你好 👋"), std::string::npos);
  EXPECT_FALSE(answer.headers.get("ETag").empty());
}

TEST(RequestIds, AreMadeWhenTheServerInFrontGivesNone) {
  Site site;
  FcgiPeer first(site.fastcgi());
  FcgiPeer second(site.fastcgi());
  first.send(fcgi::request("GET", kHealthPath));
  second.send(fcgi::request("GET", kHealthPath));
  const auto one = first.read_reply().response.headers.get("X-Request-Id");
  const auto other = second.read_reply().response.headers.get("X-Request-Id");
  EXPECT_FALSE(one.empty());
  EXPECT_NE(one, other);
}

TEST(RequestIds, CannotSmuggleHeaders) {
  Site site;
  FcgiPeer peer(site.fastcgi());
  auto params = fcgi::params_for("GET", kHealthPath);
  params.emplace_back("REQUEST_ID", "a\r\nSet-Cookie: stolen=1");
  peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(""));
  EXPECT_EQ(peer.read_reply().response.headers.count("Set-Cookie"), 0U);
}

class Origins : public SharedSite<Origins> {
 public:
  static SiteOptions options() {
    return {.settings = {{"ALLOWED_ORIGINS", "https://shop.example, https://www.shop.example"}}};
  }

 protected:
  static Response post_from(const std::string& origin, const char* path = kChatPath) {
    return site().post(path, chat_body("[[sim events=2]]"), {{"Origin", origin}});
  }
};

TEST_F(Origins, AListedOneIsNamedInTheAnswer) {
  for (const char* origin : {"https://shop.example", "https://www.shop.example"}) {
    const auto answer = post_from(origin);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), origin);
    EXPECT_NE(answer.headers.get("Vary").find("Origin"), std::string::npos);
  }
}

TEST_F(Origins, AListedOneIsNamedInErrorsAndPreflightsToo) {
  const Headers origin{{"Origin", "https://shop.example"}};
  for (const auto& answer :
       {site().post(kChatPath, "{}", origin), site().post("/nothing", "", origin),
        site().browser().fetch({.method = "OPTIONS", .path = kChatPath, .headers = origin})}) {
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "https://shop.example") << answer.status;
    EXPECT_NE(answer.headers.get("Vary").find("Origin"), std::string::npos) << answer.status;
  }
}

TEST_F(Origins, OneThatIsNotListedMayNotChat) {
  for (const char* origin :
       {"https://evil.example", "https://shop.example.evil.example", "http://shop.example",
        "https://shop.example:8443", "null", "https://xshop.example", "*"}) {
    SCOPED_TRACE(origin);
    for (const char* path : {kChatPath, kStreamPath}) {
      const auto answer = post_from(origin, path);
      EXPECT_EQ(answer.status, 403);
      EXPECT_EQ(answer.headers.count("Access-Control-Allow-Origin"), 0U);
      EXPECT_FALSE(bool_at(answer.json(), "/success"));
    }
    const auto profile = site().browser().fetch({.path = kConfigPath, .headers = {{"Origin", origin}}});
    EXPECT_EQ(profile.headers.count("Access-Control-Allow-Origin"), 0U);
  }
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(Origins, ARequestOfTheSameSiteHasNone) {
  EXPECT_EQ(site().ask("[[sim events=2]]").status, 200);
  EXPECT_EQ(site().get(kHealthPath).status, 200);
}

}  // namespace
}  // namespace bailian::e2e
