// The limits per visitor that we ship.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/existing_site.h"

namespace bailian::e2e {
namespace {

// So slow that no further question is granted while the test runs.
const Edit kSlow{"rate=20r/m", "rate=1r/m"};
constexpr int kQuestionsAtOnce = 11;  // one, and the burst

class NginxLimits : public ExistingSite {
 protected:
  void start(std::vector<Edit> limits, std::vector<Edit> edits = {}) {
    start_responder();
    start_nginx({.edits = std::move(edits), .limits = std::move(limits)});
  }

  // A question that costs nothing upstream.
  Response ask(const std::string& path = kChatPath, Headers headers = {}) const {
    return browser().post(path, "{}", std::move(headers));
  }
  void use_up_the_questions(const Headers& headers = {}) const {
    for (int i = 0; i < kQuestionsAtOnce; ++i) EXPECT_EQ(ask(kChatPath, headers).status, 400) << i;
    EXPECT_EQ(ask(kChatPath, headers).status, 429);
  }
};

TEST_F(NginxLimits, AVisitorWhoAsksTooOftenIsToldToWait) {
  start({kSlow});
  use_up_the_questions();
  for (const char* path : {kChatPath, kStreamPath, "/wp-json/myapi/v1/chat-bot/",
                           "/blog/wp-json/myapi/v1/chat-bot", "/?rest_route=%2Fmyapi%2Fv1%2Fchat-bot/stream",
                           "/myapi/v1/chat-bot%3Fx", "/myapi/v1/chat-bot/stream%3F",
                           "/myapi/bots/shop/v1/chat-bot", "/wp-json/myapi/bots/default/v1/chat-bot/stream",
                           "/?rest_route=%2Fmyapi%2Fbots%2Fshop%2Fv1%2Fchat-bot"}) {
    SCOPED_TRACE(path);
    const auto answer = ask(path, {{"Origin", "https://shop.example"}});
    expect_error(answer, 429, "rate_limited", "Too many requests");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
    EXPECT_GE(std::stoi(answer.headers.get("Retry-After")), 1);
  }
}

struct OwnError {
  int status;
  const char* code;
  const char* message;
};

TEST_F(NginxLimits, WhateverNginxFindsHasTheShapeOfOurErrors) {
  for (const auto& [status, code, message] :
       {OwnError{500, "internal", "Internal server error"}, OwnError{503, "overloaded", "Server busy"}}) {
    start({kSlow}, {{"limit_req_status 429", "limit_req_status " + std::to_string(status)}});
    for (int i = 0; i < kQuestionsAtOnce; ++i) ask();
    const auto answer = ask();
    expect_error(answer, status, code, message);
    EXPECT_EQ(answer.headers.count("Retry-After"), status == 503 ? 1U : 0U);
    nginx_.reset();
    responder_.reset();
  }
}

TEST_F(NginxLimits, ABodyToAnyNameIsAQuestion) {
  start({kSlow});
  const std::string large(1'000'000, ' ');
  const std::vector<HttpRequest> requests = {
      {.method = "POST", .path = "/myapi/v1/nothing", .body = large},
      {.method = "POST", .path = "/wp-json/myapi/v2/x/y", .body = large},
      {.method = "POST", .path = "/?rest_route=/myapi/v1/nothing", .body = large},
      {.method = "POST", .path = "/myapi/bots/unknown/v1/chat-bot", .body = large},
      {.method = "PUT", .path = kChatPath, .body = large},
      {.method = "DELETE", .path = "/myapi/", .body = large}};
  for (int i = 0; i < kQuestionsAtOnce; ++i) {
    const auto status = browser().fetch(requests[static_cast<size_t>(i) % requests.size()]).status;
    EXPECT_TRUE(status == 404 || status == 405) << status;
  }
  for (const auto& request : requests)
    expect_error(browser().fetch(request), 429, "rate_limited", "Too many requests");
  EXPECT_EQ(ask().status, 429);
}

TEST_F(NginxLimits, WhatIsNoQuestionHasABudgetOfItsOwn) {
  start({kSlow, {"rate=10r/s", "rate=1r/m"}});
  use_up_the_questions();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(browser().fetch({.method = "OPTIONS", .path = kStreamPath}).status, 204);
    EXPECT_EQ(browser().get(kConfigPath).status, 200);
    EXPECT_EQ(browser().get(kHealthPath).status, 200);
    EXPECT_EQ(browser().get("/myapi/v1/chat-bot").status, 405);
    EXPECT_EQ(browser().get("/myapi/v1/nothing").status, 404);
  }
  EXPECT_EQ(browser().get(kHealthPath).status, 200) << "one, and the burst";
  for (const char* path : {kHealthPath, "/wp-json/health/", kConfigPath, "/wp-json/myapi/v1/nothing"})
    expect_error(browser().get(path), 429, "rate_limited", "Too many requests");
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(reaches_php("/")) << "the site has no limit";
}

TEST_F(NginxLimits, ABodyToAHealthCheckCountsAsAHealthCheck) {
  start({{"rate=10r/s", "rate=1r/m"}, {"burst=100", "burst=3"}});
  for (const char* path : {kHealthPath, "/wp-json/health"})
    for (int i = 0; i < 2; ++i) EXPECT_EQ(browser().post(path, "{}").status, 405);
  for (const char* path : {kHealthPath, "/wp-json/health"})
    expect_error(browser().post(path, "{}"), 429, "rate_limited", "Too many requests");
  expect_error(browser().get(kHealthPath), 429, "rate_limited", "Too many requests");
}

TEST_F(NginxLimits, AVisitorHasSoManyAnswersAtOnce) {
  start({{"rate=20r/m", "rate=1000r/s"}});
  std::vector<Exchange> open;
  for (int i = 0; i < 10; ++i) {
    open.push_back(stream("[[sim events=2 hold=1]]"));
    EXPECT_EQ(read_text(open.back()), "tok1 ");
  }
  const auto answer = stream("[[sim events=2]]").read_all();
  expect_error(answer, 429, "rate_limited", "Too many requests");
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  simulator_.release();
  for (auto& exchange : open) EXPECT_EQ(read_stream(exchange).text, "tok2 ");
  EXPECT_EQ(read_stream(stream("[[sim events=2]]")).text, tokens(2));
}

TEST_F(NginxLimits, ADryRunOnlySaysWhomItWouldHit) {
  start({kSlow, {"limit_conn bailian_streams 10", "limit_conn bailian_streams 1"}},
        {{"limit_req_dry_run off", "limit_req_dry_run on"},
         {"limit_conn_dry_run off", "limit_conn_dry_run on"}});
  auto open = stream("[[sim events=2 hold=1]]");
  EXPECT_EQ(read_text(open), "tok1 ");
  for (int i = 0; i < 2 * kQuestionsAtOnce; ++i) EXPECT_EQ(ask().status, 400);
  for (const char* said : {"limiting requests, dry run", "limiting connections, dry run"}) {
    EXPECT_TRUE(nginx_->process().err().await_line([&](std::string_view line) {
      return line.find(said) != line.npos;
    })) << said;
  }
}

TEST_F(NginxLimits, WithoutTheirFileThereAreNone) {
  start_responder();
  start_nginx();
  for (int i = 0; i < 2 * kQuestionsAtOnce; ++i) EXPECT_EQ(ask().status, 400);
}

TEST_F(NginxLimits, VisitorsBehindATrustedProxyHaveABudgetEach) {
  start({kSlow,
         {"#set_real_ip_from 192.0.2.0/24", "set_real_ip_from unix:"},
         {"#real_ip_header", "real_ip_header"}});
  use_up_the_questions({{"X-Forwarded-For", "198.51.100.1"}});
  EXPECT_EQ(ask(kChatPath, {{"X-Forwarded-For", "198.51.100.2"}}).status, 400);
}

// A visitor with one IPv6 address has a whole /64.
TEST_F(NginxLimits, ANetworkOfIpv6IsOneVisitor) {
  start({kSlow,
         {"#set_real_ip_from 192.0.2.0/24", "set_real_ip_from unix:"},
         {"#real_ip_header", "real_ip_header"}});
  auto ask_from = [this](const std::string& address) {
    return ask(kChatPath, {{"X-Forwarded-For", address}}).status;
  };
  for (int i = 0; i < kQuestionsAtOnce; ++i)
    EXPECT_EQ(ask_from("2001:db8:0:a0a::" + std::to_string(i)), 400) << i;
  for (const char* address : {"2001:db8:0:a0a::99", "2001:db8:0:a0a:ffff:ffff:ffff:ffff"})
    EXPECT_EQ(ask_from(address), 429) << address;
  for (const char* address : {"2001:db8:0:a0b::1", "2001:db8:1:a0a::1", "::1"})
    EXPECT_EQ(ask_from(address), 400) << address;

  // IPv4 is counted by the whole address, in either notation.
  for (int i = 0; i < kQuestionsAtOnce; ++i) EXPECT_EQ(ask_from("::ffff:192.0.2.10"), 400) << i;
  for (const char* address : {"::ffff:192.0.2.10", "192.0.2.10", "64:ff9b::192.0.2.10"})
    EXPECT_EQ(ask_from(address), 429) << address;
  for (const char* address : {"::ffff:192.0.2.11", "192.0.2.12", "64:ff9b::192.0.2.13", "10.10.10.10"})
    EXPECT_EQ(ask_from(address), 400) << address;
}

TEST_F(NginxLimits, ANetworkOfIpv6HasSoManyAnswersAtOnce) {
  start({{"rate=20r/m", "rate=1000r/s"},
         {"#set_real_ip_from 192.0.2.0/24", "set_real_ip_from unix:"},
         {"#real_ip_header", "real_ip_header"}});
  auto stream_to = [this](const std::string& address) {
    return browser().send({.method = "POST",
                           .path = kStreamPath,
                           .headers = {{"X-Forwarded-For", address}},
                           .body = chat_body("[[sim events=2 hold=1]]")});
  };
  std::vector<Exchange> open;
  for (int i = 0; i < 10; ++i) {
    open.push_back(stream_to("2001:db8::" + std::to_string(i)));
    EXPECT_EQ(read_text(open.back()), "tok1 ");
  }
  expect_error(stream_to("2001:db8::99").read_all(), 429, "rate_limited", "Too many requests");
  auto neighbour = stream_to("2001:db8:0:1::");
  EXPECT_EQ(read_text(neighbour), "tok1 ");
}

TEST_F(NginxLimits, AHeaderFromElsewhereBuysNoSecondBudget) {
  start({kSlow, {"#set_real_ip_from", "set_real_ip_from"}, {"#real_ip_header", "real_ip_header"}});
  use_up_the_questions({{"X-Forwarded-For", "198.51.100.1"}});
  EXPECT_EQ(ask(kChatPath, {{"X-Forwarded-For", "198.51.100.2"}}).status, 429);
}

TEST_F(NginxLimits, OverSeveralProxiesTheLastThatIsNotTrustedCounts) {
  start({kSlow,
         {"#set_real_ip_from 192.0.2.0/24", "set_real_ip_from unix:; set_real_ip_from 192.0.2.0/24"},
         {"#real_ip_header", "real_ip_header"},
         {"#real_ip_recursive", "real_ip_recursive"}});
  use_up_the_questions({{"X-Forwarded-For", "203.0.113.1, 198.51.100.1, 192.0.2.9"}});
  EXPECT_EQ(ask(kChatPath, {{"X-Forwarded-For", "203.0.113.2, 198.51.100.1, 192.0.2.9"}}).status, 429);
  EXPECT_EQ(ask(kChatPath, {{"X-Forwarded-For", "203.0.113.1, 198.51.100.2, 192.0.2.9"}}).status, 400);
}

}  // namespace
}  // namespace bailian::e2e
