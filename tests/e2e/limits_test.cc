// Time limits, retries, MAX_STREAMS, and sites that are not configured.

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

void expect_unreachable(const std::string& base_url) {
  Site site({.settings = {{"DASHSCOPE_BASE_URL", base_url}, {"UPSTREAM_RETRIES", "0"}}});
  expect_error(site.stream("hello").read_all(), 502, "upstream_error", "Connection failed");
  expect_error(site.ask("hello"), 502, "upstream_error", "Connection failed");
  EXPECT_EQ(site.get(kHealthPath).status, 200);
}

TEST(Unreachable, AnUpstreamThatRefuses) {
  expect_unreachable("http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1");
}

TEST(Unreachable, AnUpstreamWithoutAnAddress) {
  // Longer than a DNS label may be, so that no resolver is asked.
  expect_unreachable("https://" + std::string(64, 'x') + ".invalid/api/v1");
}

TEST(Timeouts, AnUpstreamThatNeverShakesHands) {
  const auto silent = listen_on_loopback();
  Site site(
      {.settings = {{"DASHSCOPE_BASE_URL", "https://127.0.0.1:" + std::to_string(silent.port) + "/api/v1"},
                    {"CONNECT_TIMEOUT", "1"},
                    {"UPSTREAM_RETRIES", "0"}}});
  expect_error(site.stream("hello").read_all(), 504, "upstream_timeout", "Connection timeout");
}

TEST(Timeouts, AnUpstreamThatNeverAnswers) {
  Site site({.settings = {{"FIRST_TOKEN_TIMEOUT", "1"}, {"UPSTREAM_RETRIES", "0"}}});
  const auto answer = site.stream("[[sim fault=hang]]").read_all();
  expect_error(answer, 504, "upstream_timeout", "Connection timeout");
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
  const auto line = site.responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_EQ(text_at(line, "/outcome"), "timeout");
}

TEST(Timeouts, AWholeAnswerThatNeverComes) {
  // A whole answer has no first token: it arrives all at once, within the total limit.
  Site site({.settings = {{"TIMEOUT", "1"}, {"UPSTREAM_RETRIES", "0"}}});
  expect_error(site.ask("[[sim fault=hang]]"), 504, "upstream_timeout", "Connection timeout");
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

TEST(Timeouts, CommentsAreNoFirstToken) {
  Site site({.settings = {{"FIRST_TOKEN_TIMEOUT", "1"}, {"UPSTREAM_RETRIES", "0"}}});
  expect_error(site.stream("[[sim fault=comments]]").read_all(), 504, "upstream_timeout",
               "Connection timeout");
}

TEST(Timeouts, AnUpstreamThatFallsSilent) {
  // Our own heartbeats do not count as activity of the upstream.
  Site site({.settings = {{"IDLE_TIMEOUT", "2"}, {"HEARTBEAT", "1"}}});
  const auto answer = read_stream(site.stream("[[sim fault=stall]]"));
  EXPECT_EQ(answer.pieces.size(), 1U);
  expect_failed(answer, "upstream_timeout");
  EXPECT_TRUE(text_at(answer.last, "/message").starts_with("Connection timeout"));
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

TEST(Timeouts, AnAnswerThatTakesTooLong) {
  Site site({.settings = {{"TIMEOUT", "1"}}});
  const auto answer = read_stream(site.stream("[[sim events=100000 interval=20]]"));
  EXPECT_GE(answer.pieces.size(), 1U);
  expect_failed(answer, "upstream_timeout");
  const auto line = site.responder().request_line(text_at(answer.last, "/request_id"));
  EXPECT_EQ(text_at(line, "/outcome"), "timeout");
  EXPECT_EQ(text_at(line, "/level"), "warning");
}

// A site with a scripted upstream and a heartbeat every second.
class Heartbeat : public testing::Test {
 protected:
  ScriptedUpstream upstream_;
  Site site_{{.settings = {{"DASHSCOPE_BASE_URL", upstream_.base_url()}, {"HEARTBEAT", "1"}}}};
};

TEST_F(Heartbeat, OpensASilentStreamWhichThenGoesOn) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  EXPECT_EQ(exchange.read_event(), ": keep-alive");
  EXPECT_EQ(exchange.read_event(), ": keep-alive");
  call.send_stream_head();
  call.send_text("at last");
  call.finish();
  const auto answer = read_stream(exchange);
  EXPECT_EQ(answer.text, "at last");
  EXPECT_TRUE(bool_at(answer.last, "/success"));
}

TEST_F(Heartbeat, ComesWithTheHeadOfTheStream) {
  FcgiPeer peer(site_.fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  const auto first = peer.read_stdout();
  EXPECT_TRUE(first.starts_with("Status: 200")) << first;
  EXPECT_TRUE(first.ends_with("\r\n\r\n: keep-alive\n\n")) << first;
}

TEST_F(Heartbeat, AFailureAfterItIsATerminalEvent) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  EXPECT_EQ(exchange.read_event(), ": keep-alive");
  call.send(
      "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 55\r\n\r\n"
      R"({"code":"InvalidApiKey","message":"Invalid","more":"x"})");
  expect_failed(read_stream(exchange), "upstream_auth");
}

TEST_F(Heartbeat, DoesNotDisturbWholeAnswers) {
  auto exchange = site_.chat("hello");
  auto call = upstream_.accept();
  auto beating = site_.stream("hello");
  auto other = upstream_.accept();
  EXPECT_EQ(beating.read_event(), ": keep-alive");  // so a second has passed since the first one too
  EXPECT_EQ(beating.read_event(), ": keep-alive");
  const std::string body =
      R"({"output":{"finish_reason":"stop","session_id":"s1","text":"whole"},"usage":{}})";
  call.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
            std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_EQ(text_at(exchange.read_all().json(), "/result"), "whole");
}

class Retries : public SharedSite<Retries> {};

TEST_F(Retries, ThrottlingThatPassesIsNotSeenByTheVisitor) {
  for (const char* error : {"Throttling", "Throttling.RateQuota", "LimitRequests"}) {
    for (const char* framing : {"json", "sse200", "sse"}) {
      const auto prompt =
          std::string("[[sim times=1 events=3 framing=") + framing + " status=429 code=" + error + "]]";
      SCOPED_TRACE(prompt);
      site().simulator().reset();
      EXPECT_EQ(read_stream(site().stream(prompt)).text, tokens(3));
      EXPECT_EQ(site().simulator().count("requests"), 2);
    }
  }
}

TEST_F(Retries, HelpTheWholeAnswerToo) {
  const auto answer = site().ask("[[sim times=1 events=3 status=429 code=Throttling framing=json]]");
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(site().simulator().count("requests"), 2);
}

TEST_F(Retries, DoNotAskAgainWhenTheMonthsBudgetIsSpent) {
  for (const char* path : {kStreamPath, kChatPath}) {
    for (const char* framing : {"json", "sse200", "sse"}) {
      SCOPED_TRACE(std::string(path) + " " + framing);
      site().simulator().reset();
      const auto answer = site().post(
          path, chat_body(std::string(path) + " [[sim status=429 message=budget framing=" + framing + "]]"));
      expect_error(answer, 503, "upstream_quota", "API Error");
      EXPECT_EQ(answer.headers.get("Retry-After"), "");
      EXPECT_EQ(site().simulator().count("requests"), 1);
    }
  }
}

TEST_F(Retries, AreAsManyAsSet) {
  expect_error(site().ask("[[sim status=429 code=Throttling framing=json]]"), 429, "rate_limited",
               "API Error");
  EXPECT_EQ(site().simulator().count("requests"), 2);
}

TEST_F(Retries, AreNotMadeWhereTheyCannotHelp) {
  for (const char* error : {"429 code=PostpaidBillOverdue", "429 code=PrepaidBillOverdue",
                            "429 code=CommodityNotPurchased", "400 code=Arrearage", "401 code=InvalidApiKey",
                            "403 code=App.AccessDenied", "400 code=DataInspectionFailed"}) {
    SCOPED_TRACE(error);
    site().simulator().reset();
    EXPECT_NE(site().ask(std::string("[[sim framing=json status=") + error + "]]").status, 200);
    EXPECT_EQ(site().simulator().count("requests"), 1);
  }
}

// The upstream may have processed and billed the request before it failed.
TEST_F(Retries, AreNotMadeAfterAFailureThatMayBeBilled) {
  for (const char* error : {"status=500 code=InternalError", "status=500 code=InternalError.Timeout",
                            "status=503 code=ModelUnavailable", "status=500 code=RequestTimeOut",
                            "fault=reset", "fault=empty", "fault=plain503"}) {
    for (const bool streamed : {true, false}) {
      const auto prompt = std::string("[[sim ") + error + "]]";
      SCOPED_TRACE(prompt);
      site().simulator().reset();
      const auto answer = streamed ? site().stream(prompt).read_all() : site().ask("whole " + prompt);
      EXPECT_GE(answer.status, 500);
      EXPECT_EQ(site().simulator().count("requests"), 1);
    }
  }
}

TEST_F(Retries, AreNotMadeAfterTheFirstText) {
  expect_failed(read_stream(site().stream("[[sim status=500 code=InternalError after=1]]")),
                "upstream_error");
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST(NoRetries, AFailureIsPassedOnAtOnce) {
  Site site({.settings = {{"UPSTREAM_RETRIES", "0"}}});
  EXPECT_EQ(site.ask("[[sim times=1 status=429 code=Throttling framing=json]]").status, 429);
  EXPECT_EQ(site.simulator().count("requests"), 1);
}

TEST(FullHouse, OneChatTooManyIsTurnedAway) {
  Site site({.settings = {{"MAX_STREAMS", "1"}}});
  auto first = site.stream("[[sim events=2 hold=1]]");
  EXPECT_EQ(read_text(first), "tok1 ");

  const auto turned_away = site.stream("[[sim events=2]]").read_all();
  expect_error(turned_away, 503, "overloaded", "Server busy");
  EXPECT_GE(std::stoi(turned_away.headers.get("Retry-After")), 1);
  expect_error(site.ask("[[sim events=2]]"), 503, "overloaded", "Server busy");
  EXPECT_EQ(site.get(kHealthPath).status, 200);

  site.simulator().release();
  EXPECT_EQ(read_stream(first).text, "tok2 ");
  EXPECT_EQ(read_stream(site.stream("[[sim events=2]]")).text, tokens(2));
}

TEST(FullHouse, TurnsACrowdAwayAtOnceAndRecoversByItself) {
  constexpr int kPlaces = 30;
  constexpr int kCrowd = 300;
  Site site({.settings = {{"MAX_STREAMS", std::to_string(kPlaces)}}});
  for (int round = 1; round <= 2; ++round) {
    std::vector<Exchange> admitted;
    admitted.reserve(kPlaces);
    for (int i = 0; i < kPlaces; ++i) admitted.push_back(site.stream("[[sim events=2 hold=1]]"));
    EXPECT_TRUE(site.simulator().reaches("held", kPlaces));
    // No admitted chat ends before all others have been answered.
    std::vector<Exchange> crowd;
    crowd.reserve(kCrowd);
    for (int i = 0; i < kCrowd; ++i)
      crowd.push_back(i % 2 == 0 ? site.stream("[[sim events=2]]") : site.chat("[[sim events=2]]"));
    EXPECT_EQ(text_at(site.get(kHealthPath).json(), "/status"), "healthy");
    EXPECT_EQ(site.get(kConfigPath).status, 200);
    for (auto& exchange : crowd) {
      const auto turned_away = exchange.read_all();
      expect_error(turned_away, 503, "overloaded", "Server busy");
      EXPECT_GE(std::stoi(turned_away.headers.get("Retry-After")), 1);
    }
    EXPECT_EQ(site.simulator().count("requests"), round * kPlaces);
    site.simulator().release();
    for (auto& exchange : admitted) EXPECT_EQ(read_stream(exchange).text, tokens(2));
  }
}

TEST(FullHouse, APlaceIsFreeAgainWhenItsVisitorLeaves) {
  Site site({.settings = {{"MAX_STREAMS", "1"}}});
  for (int i = 0; i < 5; ++i) {
    auto exchange = site.stream("[[sim events=2 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    exchange.close();
    EXPECT_TRUE(site.simulator().reaches("cut", i + 1));
    EXPECT_TRUE(site.simulator().falls_to("open", 0));
  }
  EXPECT_EQ(read_stream(site.stream("[[sim events=2]]")).text, tokens(2));
}

void expect_not_configured(const SiteOptions& options, const char* message) {
  Site site(options);
  expect_error(site.stream("hello").read_all(), 500, "not_configured", message);
  expect_error(site.ask("hello"), 500, "not_configured", message);
  EXPECT_EQ(site.get(kHealthPath).status, 200);
  EXPECT_EQ(site.get(kConfigPath).status, 200);
  EXPECT_EQ(site.simulator().count("requests"), 0);
}

TEST(NotConfigured, WithoutAKey) {
  expect_not_configured({.unset = {"DASHSCOPE_API_KEY"}}, "API Key is not configured");
}

TEST(NotConfigured, WithoutAnApp) {
  expect_not_configured({.unset = {"APP_ID"}}, "App ID is not configured");
}

TEST(NotConfigured, WithTwoTargetsThatLackDifferentSettings) {
  expect_not_configured(
      {.settings = {{"APP_ID_2", "b"}, {"DASHSCOPE_API_KEY_2", "sk-your-key"}}, .unset = {"APP_ID"}},
      "API Key or App ID is not configured");
}

TEST(NotConfigured, WithThePlaceholdersOfOldExamples) {
  for (const char* key : {"sk-your-api-key-here", "sk-0E"})
    expect_not_configured({.settings = {{"DASHSCOPE_API_KEY", key}}}, "API Key is not configured");
}

// A visitor whose answer is complete but who reads little of it.
class SlowVisitor : public testing::Test {
 protected:
  void ask(const Site& site) {
    peer_.emplace(site.fastcgi());
    peer_->send(fcgi::request("POST", kChatPath, chat_body("[[sim bytes=1000000 delay=0]]")));
    peer_->read_stdout();  // the rest is more than the socket holds
  }

  std::optional<FcgiPeer> peer_;
};

TEST_F(SlowVisitor, OfAFinishedAnswerKeepsNobodyOut) {
  Site site({.settings = {{"MAX_STREAMS", "1"}, {"CLIENT_STALL_TIMEOUT", "1000"}}});
  ask(site);
  EXPECT_EQ(text_at(site.ask("[[sim events=2]]").json(), "/result"), tokens(2));
  EXPECT_EQ(peer_->read_reply().response.status, 200);
}

TEST_F(SlowVisitor, HasTheTimeoutToTakeTheRest) {
  Site site({.settings = {{"TIMEOUT", "3"}, {"CLIENT_STALL_TIMEOUT", "1000"}}});
  ask(site);
  EXPECT_TRUE(site.responder().logs("the browser is too slow"));
  EXPECT_NO_THROW(peer_->await_end());
}

}  // namespace
}  // namespace bailian::e2e
