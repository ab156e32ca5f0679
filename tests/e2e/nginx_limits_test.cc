// The limits per visitor that we ship.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "answer.h"
#include "existing_site.h"

namespace bailian::e2e {
namespace {

// So that the clock gives nobody another question while the test runs.
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
                           "/myapi/v1/chat-bot%3Fx", "/myapi/v1/chat-bot/stream%3F"}) {
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

TEST_F(NginxLimits, OnlyQuestionsAreCounted) {
  start({kSlow});
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2 * kQuestionsAtOnce; ++j) {
      EXPECT_EQ(browser().fetch({.method = "OPTIONS", .path = kStreamPath}).status, 204);
      EXPECT_EQ(browser().get(kConfigPath).status, 200);
      EXPECT_EQ(browser().get(kHealthPath).status, 200);
      EXPECT_EQ(browser().get("/myapi/v1/chat-bot").status, 405);
      EXPECT_EQ(ask("/myapi/v1/chat-bot/other").status, 404);
    }
    EXPECT_TRUE(reaches_php("/"));
    if (i == 0) use_up_the_questions();
  }
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
