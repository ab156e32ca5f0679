// The cost of one question: no second request when the first may have been billed, and everything billed is
// in the log and the metrics.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

// The value of a series in /metrics; 0 when it is absent.
double metric(const Site& site, const std::string& series) {
  const auto page = site.get("/metrics").body;
  const size_t at = page.find("\n" + series + " ");
  return at == page.npos ? 0 : std::stod(page.substr(at + series.size() + 2));
}

void await(const std::function<bool()>& is_so) {
  const Deadline deadline;
  while (!is_so()) {
    if (deadline.left_ms() == 0) throw WaitedInVain("timed out");
    std::this_thread::yield();
  }
}

constexpr const char* kThrottledJson =
    R"({"code":"Throttling.RateQuota","message":"slow down","request_id":"u9"})";

std::string json_response(const std::string& status, const std::string& headers, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// --- events while a retry waits ---

TEST(WaitingToRetry, AHeartbeatForbidsNoRetry) {
  Site site({.settings = {{"HEARTBEAT", "0.05"}, {"UPSTREAM_RETRIES", "2"}}});
  for (int i = 0; i < 3; ++i) {
    site.simulator().reset();
    const auto answer = read_stream(site.stream("[[sim status=429 code=Throttling times=2 events=3]]"));
    EXPECT_EQ(answer.text, tokens(3));
    EXPECT_GE(answer.heartbeats, 1);
    EXPECT_EQ(site.simulator().count("requests"), 3);
  }
  expect_failed(read_stream(site.stream("[[sim status=429 code=Throttling]]")), "rate_limited");
  EXPECT_EQ(site.get(kHealthPath).status, 200);
}

TEST(WaitingToRetry, TheEndOfTheWholeTimeIsATimeout) {
  for (const char* heartbeat : {"0", "0.05"}) {
    SCOPED_TRACE(heartbeat);
    Site site({.settings = {{"HEARTBEAT", heartbeat}, {"UPSTREAM_RETRIES", "10"}, {"TIMEOUT", "1"}}});
    auto streamed = site.stream("[[sim status=429 code=Throttling]]");
    auto whole = site.chat("[[sim status=429 code=Throttling]]");
    if (std::string_view(heartbeat) == "0") {
      expect_error(streamed.read_all(), 504, "upstream_timeout", "Connection timeout");
    } else {
      expect_failed(read_stream(streamed), "upstream_timeout");
    }
    expect_error(whole.read_all(), 504, "upstream_timeout", "Connection timeout");
  }
}

TEST(WaitingToRetry, AVisitorWhoLeavesEndsIt) {
  Site site({.settings = {{"HEARTBEAT", "0.05"}, {"UPSTREAM_RETRIES", "10"}}});
  auto streamed = site.stream("[[sim status=429 code=Throttling]]");
  auto whole = site.chat("[[sim status=429 code=Throttling]]");
  EXPECT_TRUE(site.simulator().reaches("requests", 4));
  streamed.close();
  whole.close();
  EXPECT_TRUE(site.responder().logs(
      R"("path":"/myapi/v1/chat-bot/stream","bot":"default","status":200,"outcome":"client_gone")"));
  EXPECT_TRUE(site.responder().logs(
      R"("path":"/myapi/v1/chat-bot","bot":"default","status":0,"outcome":"client_gone")"));
  EXPECT_EQ(metric(site, "bailian_streams_active"), 0);
}

TEST(WaitingToRetry, TheEndOfTheProgramIsToldToTheVisitor) {
  Site site({.settings = {{"HEARTBEAT", "0.05"}, {"UPSTREAM_RETRIES", "10"}}});
  auto streamed = site.stream("[[sim status=429 code=Throttling]]");
  auto whole = site.chat("[[sim status=429 code=Throttling]]");
  EXPECT_TRUE(site.simulator().reaches("requests", 4));
  EXPECT_EQ(streamed.status(), 200);
  site.responder().process().signal(SIGTERM);
  EXPECT_TRUE(site.responder().logs(R"("event":"draining")"));
  site.responder().process().signal(SIGTERM);
  EXPECT_TRUE(site.responder().logs(R"("upstream_code":"shutdown")"));
  expect_failed(read_stream(streamed), "upstream_error");
  expect_error(whole.read_all(), 502, "upstream_error", "API Error");
  EXPECT_EQ(site.await_responder_end(), 0);
}

// --- one question, one request ---

class Sent : public testing::TestWithParam<const char*> {
 protected:
  SiteOptions options() const {
    return {.settings = {{"DASHSCOPE_BASE_URL", upstream_.base_url()},
                         {"UPSTREAM_RETRIES", GetParam()},
                         {"MAX_PROMPT_BYTES", "16000000"},
                         {"MAX_BODY_BYTES", "16000000"}}};
  }

  // Makes the responder keep `count` connections.
  std::vector<UpstreamCall> warm_up(int count) {
    std::vector<Exchange> exchanges;
    std::vector<UpstreamCall> kept;
    for (int i = 0; i < count; ++i) exchanges.push_back(site_.stream("hello"));
    for (int i = 0; i < count; ++i) kept.push_back(upstream_.accept());
    for (auto& call : kept) {
      call.send_stream_head();
      call.send_text("warm");
      call.finish();
    }
    for (auto& exchange : exchanges) read_stream(exchange);
    return kept;
  }

  static std::optional<size_t> called(const std::vector<UpstreamCall>& kept) {
    for (size_t i = 0; i < kept.size(); ++i) {
      if (kept[i].has_request()) return i;
    }
    return std::nullopt;
  }

  ScriptedUpstream upstream_;
  Site site_{options()};
};

// An upstream that accepted the request and then closes the connection may have processed it.
TEST_P(Sent, ARequestThatArrivedWholeIsNeverSentAgain) {
  constexpr int kKept = 4;
  auto kept = warm_up(kKept);
  auto exchange = site_.stream("only once");
  std::optional<size_t> first;
  await([&] { return (first = called(kept)).has_value(); });
  kept[*first].await_request();
  EXPECT_NE(kept[*first].body().find("only once"), std::string::npos);
  kept[*first].close();
  kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(*first));

  expect_error(exchange.read_all(), 502, "upstream_error", "Connection failed");
  EXPECT_FALSE(called(kept));
  EXPECT_FALSE(upstream_.is_called());
  EXPECT_EQ(metric(site_, R"(bailian_upstream_requests_total{bot="default",target="1"})"), kKept + 1);
  EXPECT_EQ(metric(site_, R"(bailian_upstream_retries_total{bot="default",target="1"})"), 0);
}

TEST_P(Sent, ManyConnectionsThatEndAtOnceAreNotSeenByTheNextVisitor) {
  auto kept = warm_up(20);
  for (auto& call : kept) call.close();
  auto exchange = site_.stream("hello again");
  const auto call = upstream_.accept();
  EXPECT_NE(call.body().find("hello again"), std::string::npos);
  call.send_stream_head();
  call.send_text("answered");
  call.finish();
  EXPECT_EQ(read_stream(exchange).text, "answered");
  EXPECT_EQ(metric(site_, R"(bailian_upstream_requests_total{bot="default",target="1"})"), 20 + 1);
}

// A request that was not sent completely cannot have been answered.
TEST_P(Sent, ARequestThatWasCutShortIsSentAfresh) {
  auto kept = warm_up(1);
  const std::string prompt(7'000'000, 'x');  // more than the sockets' buffers hold
  FcgiPeer visitor(site_.fastcgi());
  visitor.send(fcgi::request("POST", kStreamPath, chat_body(prompt + "[end]")));
  kept[0].await_bytes(1000);
  kept[0].reset();
  const auto call = upstream_.accept();
  EXPECT_NE(call.body().find("[end]"), std::string::npos);
  call.send_stream_head();
  call.send_text("answered");
  call.finish();
  EXPECT_NE(visitor.read_reply().response.body.find("answered"), std::string::npos);
  EXPECT_EQ(metric(site_, R"(bailian_upstream_retries_total{bot="default",target="1"})"), 0);
}

INSTANTIATE_TEST_SUITE_P(Billing, Sent, testing::Values("0", "3"));

// --- what was billed ---

class Billed : public testing::Test {
 protected:
  static SiteOptions options(const ScriptedUpstream& upstream) {
    return {.settings = {{"DASHSCOPE_BASE_URL", upstream.base_url()}, {"UPSTREAM_RETRIES", "3"}}};
  }
  static std::string thought_event(int output_tokens) {
    return "id:1\nevent:result\n:HTTP_STATUS/"
           "200\ndata:{\"output\":{\"thoughts\":[{\"action_type\":\"reasoning\","
           "\"thought\":\"Hm\"}]},\"usage\":{\"models\":[{\"input_tokens\":7,\"output_tokens\":" +
           std::to_string(output_tokens) + ",\"model_id\":\"m\"}]},\"request_id\":\"u1\"}\n\n";
  }
  double tokens_of(const char* type) const {
    return metric(site_,
                  std::string(R"(bailian_tokens_total{bot="default",model="m",type=")") + type + R"("})");
  }

  ScriptedUpstream upstream_;
  Site site_{options(upstream_)};
};

TEST_F(Billed, ThoughtsForbidARetryAndAreCountedAlsoWhenNobodyAskedForThem) {
  auto exchange = site_.stream("hello");
  const auto call = upstream_.accept();
  call.send_stream_head();
  for (const int output_tokens : {500, 1000, 2000}) call.send_chunk(thought_event(output_tokens));
  call.send_chunk(std::string("event:error\n:HTTP_STATUS/429\ndata:") + kThrottledJson + "\n\n");
  call.send("0\r\n\r\n");
  const auto answer = exchange.read_all();
  expect_error(answer, 429, "rate_limited", "API Error");
  EXPECT_FALSE(upstream_.is_called());
  const auto line = site_.responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_EQ(number_at(line, "/input_tokens"), 7);
  EXPECT_EQ(number_at(line, "/output_tokens"), 2000);
  EXPECT_EQ(text_at(line, "/model"), "m");
  EXPECT_EQ(tokens_of("input"), 7);
  EXPECT_EQ(tokens_of("output"), 2000);
}

TEST_F(Billed, AWholeAnswerThatFailedButCostIsCountedAndNotAskedForAgain) {
  auto exchange = site_.chat("hello");
  const auto call = upstream_.accept();
  call.send(json_response("429 Too Many Requests", "",
                          R"({"code":"Throttling","message":"","request_id":"u1","usage":{"models":[)"
                          R"({"input_tokens":7,"output_tokens":90,"model_id":"m"}]}})"));
  const auto answer = exchange.read_all();
  expect_error(answer, 429, "rate_limited", "API Error");
  EXPECT_FALSE(upstream_.is_called());
  const auto line = site_.responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_EQ(number_at(line, "/output_tokens"), 90);
}

TEST_F(Billed, ThoughtsOfAnAnswerThatIsLeftAreCounted) {
  auto exchange = site_.stream("hello");
  const auto call = upstream_.accept();
  call.send_stream_head();
  call.send_chunk(thought_event(800));
  call.send_chunk(thought_event(900));
  const auto sent = static_cast<double>(2 * thought_event(900).size());
  await([&] { return metric(site_, "bailian_upstream_received_bytes_total") == sent; });
  exchange.close();
  EXPECT_TRUE(site_.responder().logs(R"("outcome":"client_gone")"));
  EXPECT_EQ(number_at(site_.responder().request_line_for_path(kStreamPath), "/output_tokens"), 900);
}

// --- old front ends, which ask for a whole answer after their stream has failed ---

class Fallback : public SharedSite<Fallback> {
 public:
  static SiteOptions options() {
    return {.settings = {{"UPSTREAM_RETRIES", "0"}, {"FIRST_TOKEN_TIMEOUT", "1"}, {"TIMEOUT", "2"}}};
  }
};

TEST_F(Fallback, GetsTheErrorOfItsStreamAndCostsNothing) {
  struct Failure {
    const char* directive;
    int status;
    const char* code;
  };
  for (const auto& [directive, status, code] :
       {Failure{"status=500 code=InternalError.Algo", 502, "upstream_error"},
        {"status=500 code=InternalError after=2", 502, "upstream_error"},
        {"fault=reset", 502, "upstream_error"},
        {"fault=cut", 502, "upstream_error"},
        {"fault=hang", 504, "upstream_timeout"},
        {"status=400 code=DataInspectionFailed", 400, "content_rejected"}}) {
    SCOPED_TRACE(directive);
    site().simulator().reset();
    const auto before = metric(site(), "bailian_fallbacks_answered_total");
    const auto prompt = std::string("[[sim ") + directive + "]]";
    site().stream(prompt).read_all();
    const auto whole = site().ask(prompt);
    EXPECT_EQ(whole.status, status);
    EXPECT_EQ(text_at(whole.json(), "/code"), code);
    EXPECT_EQ(site().simulator().count("requests"), 1);
    EXPECT_EQ(metric(site(), "bailian_fallbacks_answered_total"), before + 1);
    const auto line = site().responder().request_line(whole.headers.get("X-Request-Id"));
    EXPECT_FALSE(text_at(line, "/upstream_code").empty());
    EXPECT_NE(text_at(line, "/detail").find("DashScope was not asked again"), std::string::npos);
    site().ask(prompt);  // a second request for the whole answer is a new question
    EXPECT_EQ(site().simulator().count("requests"), 2);
  }
}

TEST_F(Fallback, AsksWhereTheStreamHasCostNothing) {
  const std::string prompt = "[[sim status=429 code=Throttling times=1 events=2]]";
  EXPECT_EQ(site().stream(prompt).read_all().status, 429);
  EXPECT_EQ(text_at(site().ask(prompt).json(), "/result"), tokens(2));
  EXPECT_EQ(site().simulator().count("requests"), 2);
}

TEST_F(Fallback, IsKnownByItsQuestionAndVisitor) {
  const std::string failing = "[[sim status=500 code=InternalError times=1 events=2]]";
  const auto ask = [&](const char* path, const std::string& prompt, const char* visitor) {
    const auto body = chat_body(prompt);
    auto params = fcgi::params_for("POST", path, body.size());
    params.emplace_back("REMOTE_ADDR", visitor);
    FcgiPeer peer(site().fastcgi());
    peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body));
    return peer.read_reply().response.status;
  };
  EXPECT_EQ(ask(kStreamPath, failing, "192.0.2.1"), 502);
  EXPECT_EQ(ask(kChatPath, failing, "192.0.2.2"), 200);
  EXPECT_EQ(ask(kChatPath, "[[sim events=2]]", "192.0.2.1"), 200);
  EXPECT_EQ(ask(kChatPath, failing, "192.0.2.1"), 502);
  EXPECT_EQ(site().simulator().count("requests"), 3);
}

TEST_F(Fallback, AfterANewStreamIsAsked) {
  const std::string prompt = "[[sim status=500 code=InternalError times=1 events=2]]";
  EXPECT_EQ(site().stream(prompt).read_all().status, 502);
  EXPECT_EQ(read_stream(site().stream(prompt)).text, tokens(2));
  EXPECT_EQ(site().ask(prompt).status, 200);
  EXPECT_EQ(site().simulator().count("requests"), 3);
}

// --- no connection ---

TEST(NoConnection, TheLogSaysWhatTheSystemSays) {
  Site site(
      {.settings = {{"DASHSCOPE_BASE_URL", "http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1"},
                    {"UPSTREAM_RETRIES", "0"}}});
  const auto answer = site.ask("hello");
  expect_error(answer, 502, "upstream_error", "Connection failed");
  const auto line = site.responder().request_line(answer.headers.get("X-Request-Id"));
  EXPECT_NE(text_at(line, "/detail").find("Connection refused"), std::string::npos)
      << text_at(line, "/detail");
}

// --- after the end of the answer ---

// Anything that the upstream sends after it costs neither time nor traffic, however slow the visitor is.
TEST_F(Billed, AnUpstreamThatGoesOnAfterTheEndIsLetGo) {
  FcgiPeer slow(site_.fastcgi());
  slow.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  const auto call = upstream_.accept();
  call.send_stream_head();
  call.send_chunk(result_event(std::string(50'000, 'x')));
  call.send_chunk(result_event("", "stop"));
  const std::string comments = chunk(":" + std::string(65'000, 'c') + "\n");
  EXPECT_THROW(
      {
        for (int i = 0; i < 1000; ++i) call.send(comments);
      },
      std::system_error);
  EXPECT_NE(slow.read_reply().response.body.find("Stream completed"), std::string::npos);
}

TEST_F(Billed, AnUpstreamThatFallsSilentAfterTheEndIsLetGo) {
  FcgiPeer slow(site_.fastcgi());
  slow.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  const auto call = upstream_.accept();
  call.send_stream_head();
  call.send_chunk(result_event(std::string(50'000, 'x')));
  call.send_chunk(result_event("", "stop"));
  EXPECT_TRUE(call.is_dropped());
  EXPECT_NE(slow.read_reply().response.body.find("Stream completed"), std::string::npos);
}

// --- when to come back ---

class ComeBack : public testing::Test {
 protected:
  static SiteOptions options(const ScriptedUpstream& upstream) {
    return {.settings = {{"DASHSCOPE_BASE_URL", upstream.base_url()}, {"UPSTREAM_RETRIES", "1"}}};
  }

  ScriptedUpstream upstream_;
  Site site_{options(upstream_)};
};

TEST_F(ComeBack, WhatTheUpstreamSaysIsPassedOnWithinLimits) {
  for (const auto& [told, shown] : {std::pair{"33", "33"}, {"100000", "120"}}) {
    for (const bool streamed : {true, false}) {
      SCOPED_TRACE(told);
      auto exchange = streamed ? site_.stream("hello") : site_.chat("hello");
      auto call = upstream_.accept();
      call.send(json_response("429 Too Many Requests",
                              std::string("Retry-After: ") + told + "\r\nConnection: close\r\n",
                              kThrottledJson));
      const auto answer = exchange.read_all();
      expect_error(answer, 429, "rate_limited", "API Error");
      EXPECT_EQ(answer.headers.all("Retry-After"), std::vector<std::string>{shown});
      EXPECT_FALSE(upstream_.is_called());  // the visitor is not kept waiting that long
    }
  }
}

TEST_F(ComeBack, ARetryWaitsAsLongAsTheUpstreamSays) {
  auto exchange = site_.stream("hello");
  upstream_.accept().send(
      json_response("429 Too Many Requests", "Retry-After: 1\r\nConnection: close\r\n", kThrottledJson));
  const auto turned_away = std::chrono::steady_clock::now();
  const auto call = upstream_.accept();
  EXPECT_GE(std::chrono::steady_clock::now() - turned_away, std::chrono::milliseconds(950));
  call.send(json_response("429 Too Many Requests", "Retry-After: nonsense\r\nConnection: close\r\n",
                          kThrottledJson));
  const auto answer = exchange.read_all();
  expect_error(answer, 429, "rate_limited", "API Error");
  EXPECT_EQ(answer.headers.get("Retry-After"), "10");
}

TEST_F(ComeBack, AQuotaThatIsUsedUpNamesNoTime) {
  auto exchange = site_.chat("hello");
  upstream_.accept().send(json_response("429 Too Many Requests", "Retry-After: 33\r\nConnection: close\r\n",
                                        R"({"code":"PostpaidBillOverdue","message":"","request_id":"u9"})"));
  const auto answer = exchange.read_all();
  expect_error(answer, 503, "upstream_quota", "API Error");
  EXPECT_EQ(answer.headers.count("Retry-After"), 0U);
}

}  // namespace
}  // namespace bailian::e2e
