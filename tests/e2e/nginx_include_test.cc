// The include we ship for existing sites, in such a site.

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "answer.h"
#include "site.h"

namespace bailian::e2e {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("no " + from + " in nginx/bailian-fcgi.conf");
  return text.replace(at, from.size(), to);
}

// A site with headers of its own that includes ours.
std::string existing_site(const WorkDir& dir) {
  dir.write("fastcgi_params", read_file("/etc/nginx/fastcgi_params"));
  dir.write("bailian-fcgi.conf", replaced(read_file("nginx/bailian-fcgi.conf"),
                                          "/run/bailian-fcgi/bailian-fcgi.sock", dir.socket("fcgi")));
  return "  server {\n    listen unix:" + dir.socket("web") +
         ";\n    add_header Access-Control-Allow-Origin https://site.example always;\n"
         "    include bailian-fcgi.conf;\n"
         "    location / { return 200 \"the site\"; }\n  }\n";
}

class NginxInclude : public testing::Test {
 protected:
  void start_responder(Settings settings = {}) {
    settings.merge(site_settings(dir_, simulator_));
    responder_.emplace(responder_command(dir_, settings));
  }

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange stream(std::string_view prompt) const {
    return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  std::optional<Responder> responder_;
  Nginx nginx_{dir_, "nginx", existing_site(dir_)};
};

TEST_F(NginxInclude, ServesTheChatBesideTheSite) {
  start_responder();
  auto exchange = stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(exchange.headers().get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(browser().post("/wp-json/myapi/v1/chat-bot/", chat_body("[[sim events=2]]")).status, 200);
  EXPECT_EQ(browser().get(kHealthPath).status, 200);
  EXPECT_EQ(browser().get("/wp-json/health/").status, 200);
  EXPECT_EQ(browser().get("/").body, "the site");
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
  EXPECT_EQ(busy.headers.get("Access-Control-Expose-Headers"), "X-Request-Id, Retry-After");
}

TEST_F(NginxInclude, SaysSoInJsonWhenTheResponderIsDown) {
  for (const char* path : {kStreamPath, kChatPath}) {
    const auto answer = browser().post(path, chat_body("hello"), {{"Origin", "https://shop.example"}});
    expect_error(answer, 502, "upstream_error", "Connection failed");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  }
}

TEST_F(NginxInclude, SaysSoInJsonWhenTheBodyIsTooLarge) {
  start_responder();
  const auto answer = browser().post(kChatPath, std::string(1'100'000, ' '));
  expect_error(answer, 413, "too_large", "Request too large");
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
}

TEST_F(NginxInclude, LetsTheResponderKnowWhenTheVisitorLeaves) {
  start_responder();
  auto exchange = stream("[[sim events=5 hold=0]]");
  EXPECT_TRUE(simulator_.reaches("held", 1));
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

// An nginx that keeps its connections to the responder for the next request.
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
