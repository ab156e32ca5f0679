// The visitor's answer when the upstream fails: before the first text an HTTP error, after it one terminal
// event.

#include <gtest/gtest.h>

#include <string>

#include "harness/answer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

struct UpstreamError {
  int upstream_status;
  int status;
  const char* upstream_code;
  const char* code;
  const char* message;
};

const UpstreamError kUpstreamErrors[] = {
    {401, 502, "InvalidApiKey", "upstream_auth", "Authentication failed"},
    {403, 502, "App.AccessDenied", "upstream_app", "App not found"},
    {403, 502, "Workspace.AccessDenied", "upstream_app", "App not found"},
    {404, 502, "WorkSpaceNotFound", "upstream_app", "App not found"},
    {400, 400, "DataInspectionFailed", "content_rejected", "API Error"},
    {429, 429, "Throttling", "rate_limited", "API Error"},
    {429, 429, "Throttling.RateQuota", "rate_limited", "API Error"},
    {429, 429, "Throttling.BurstRate", "rate_limited", "API Error"},
    {429, 429, "Throttling.AllocationQuota", "rate_limited", "API Error"},
    {429, 429, "LimitRequests", "rate_limited", "API Error"},
    {400, 503, "Arrearage", "upstream_quota", "API Error"},
    {403, 503, "AllocationQuota.FreeTierOnly", "upstream_quota", "API Error"},
    {429, 503, "CommodityNotPurchased", "upstream_quota", "API Error"},
    {429, 503, "PrepaidBillOverdue", "upstream_quota", "API Error"},
    {429, 503, "PostpaidBillOverdue", "upstream_quota", "API Error"},
    {429, 429, "insufficient_quota", "rate_limited", "API Error"},
    {401, 502, "invalid_api_key", "upstream_auth", "Authentication failed"},
    {403, 502, "access_denied", "upstream_app", "App not found"},
    {500, 502, "InternalError", "upstream_error", "API Error"},
    {500, 502, "InternalError.Algo", "upstream_error", "API Error"},
    {500, 502, "SystemError", "upstream_error", "API Error"},
    {500, 502, "ModelServiceFailed", "upstream_error", "API Error"},
    {503, 502, "ModelUnavailable", "upstream_error", "API Error"},
};

std::string prompt_for(const UpstreamError& error, const std::string& more) {
  return "[[sim status=" + std::to_string(error.upstream_status) + " code=" + error.upstream_code + " " +
         more + "]]";
}

SiteOptions without_retries(const char* debug) {
  return {.settings = {{"UPSTREAM_RETRIES", "0"}, {"DEBUG", debug}}};
}

class Errors : public SharedSite<Errors> {
 public:
  static SiteOptions options() { return without_retries("False"); }
};

class DebugErrors : public SharedSite<DebugErrors> {
 public:
  static SiteOptions options() { return without_retries("True"); }
};

TEST_F(Errors, EachUpstreamErrorHasItsStatusCodeAndWordsInEveryFraming) {
  for (const auto& error : kUpstreamErrors) {
    for (const char* framing : {"json", "sse200", "sse"}) {
      const auto prompt = prompt_for(error, std::string("framing=") + framing);
      SCOPED_TRACE(prompt);
      const auto answer = site().stream(prompt).read_all();
      expect_error(answer, error.status, error.code, error.message);
      EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
      EXPECT_EQ(answer.body.find(error.upstream_code), std::string::npos);
    }
  }
}

TEST_F(Errors, TheWholeAnswerFailsLikeTheStream) {
  for (const auto& error : kUpstreamErrors) {
    const auto prompt = prompt_for(error, "framing=json");
    SCOPED_TRACE(prompt);
    expect_error(site().ask(prompt), error.status, error.code, error.message);
  }
}

TEST_F(Errors, AnErrorInMidStreamIsOneTerminalEvent) {
  for (const auto& error : kUpstreamErrors) {
    const auto prompt = prompt_for(error, "events=5 after=2");
    SCOPED_TRACE(prompt);
    const auto answer = read_stream(site().stream(prompt));
    EXPECT_EQ(answer.text, tokens(2));
    expect_failed(answer, error.code);
    EXPECT_TRUE(text_at(answer.last, "/message").starts_with(error.message));
    EXPECT_EQ(text_at(answer.last, "/message").find(error.upstream_code), std::string::npos);
  }
}

TEST_F(Errors, ThrottlingSaysWhenToComeBack) {
  const auto answer = site().ask("[[sim status=429 code=Throttling framing=json]]");
  EXPECT_GE(std::stoi(answer.headers.get("Retry-After")), 1);
}

TEST_F(DebugErrors, DebugShowsTheUpstreamsOwnWords) {
  for (const auto& error : kUpstreamErrors) {
    SCOPED_TRACE(error.upstream_code);
    const auto answer = site().stream(prompt_for(error, "framing=json")).read_all();
    expect_error(answer, error.status, error.code, error.message);
    EXPECT_NE(answer.body.find(error.upstream_code), std::string::npos) << answer.body;
  }
  const auto answer = site().ask("[[sim example=09-403-app-access-denied]]");
  EXPECT_NE(text_at(answer.json(), "/message").find("App access denied."), std::string::npos) << answer.body;
}

TEST_F(DebugErrors, DebugShowsTheUpstreamsOwnWordsInMidStream) {
  const auto answer = read_stream(site().stream("[[sim status=500 code=InternalError after=1]]"));
  EXPECT_NE(text_at(answer.last, "/message").find("InternalError"), std::string::npos);
}

TEST_F(DebugErrors, TheKeyIsNeverShownEvenWhenTheUpstreamEchoesIt) {
  for (const char* how : {"framing=json", "framing=sse200", "framing=sse", "after=1"}) {
    SCOPED_TRACE(how);
    const std::string prompt =
        std::string("[[sim status=400 code=InvalidParameter message=key ") + how + "]]";
    const auto streamed = site().stream(prompt).read_all().body;
    EXPECT_EQ(streamed.find(kApiKey), streamed.npos);
    EXPECT_NE(streamed.find("InvalidParameter"), streamed.npos);
    const auto whole = site().ask(prompt).body;
    EXPECT_EQ(whole.find(kApiKey), whole.npos);
  }
}  // the destructor of the site searches the log for it

struct Fault {
  const char* name;
  const char* message;  // how its HTTP error begins
};

// Nothing usable arrived before the error.
const Fault kFaultsBeforeText[] = {
    {"reset", "Connection failed"}, {"empty", ""},        {"html", "API Error"},
    {"plain503", "API Error"},      {"bad-json", ""},     {"deep", ""},
    {"redirect", "API Error"},      {"endless-line", ""},
};

TEST_F(Errors, AFaultBeforeAnyTextIsAnHttpError) {
  for (const auto& fault : kFaultsBeforeText) {
    SCOPED_TRACE(fault.name);
    const auto answer = site().stream("[[sim fault=" + std::string(fault.name) + "]]").read_all();
    if (answer.status == 200) {
      auto exchange = site().stream("[[sim fault=" + std::string(fault.name) + "]]");
      expect_failed(read_stream(exchange), "upstream_error");
    } else {
      expect_error(answer, 502, "upstream_error", fault.message);
    }
  }
}

TEST_F(Errors, AWholeAnswerThatIsNoAnswerIsAnHttpError) {
  for (const char* fault : {"reset", "reset-midway", "cut", "truncated-chunk", "empty", "html", "plain503",
                            "bad-json", "deep", "redirect"}) {
    SCOPED_TRACE(fault);
    const auto answer = site().ask("[[sim fault=" + std::string(fault) + "]]");
    expect_error(answer, 502, "upstream_error", "");
    const auto message = text_at(answer.json(), "/message");
    EXPECT_TRUE(message.starts_with("Connection failed") || message.starts_with("API Error")) << message;
  }
}

TEST_F(Errors, AStreamThatBreaksEndsInOneErrorEvent) {
  for (const char* fault : {"reset-midway", "cut", "no-stop", "truncated-chunk"}) {
    SCOPED_TRACE(fault);
    const auto answer = read_stream(site().stream("[[sim events=3 fault=" + std::string(fault) + "]]"));
    expect_failed(answer, "upstream_error");
    EXPECT_FALSE(answer.text.empty());
  }
}

TEST_F(Errors, ARedirectIsNotFollowed) {
  site().ask("Once [[sim fault=redirect]]");
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

// Damaged answers: whether or not a part of them is usable, our answer is well-formed to its end.
TEST_F(Errors, DamagedTextNeverReachesTheBrowserDamaged) {
  for (const char* fault : {"bad-utf8", "lone-surrogate", "bad-json", "deep", "huge"}) {
    SCOPED_TRACE(fault);
    auto exchange = site().stream("[[sim events=3 fault=" + std::string(fault) + "]]");
    if (exchange.status() == 200) {
      const auto answer = read_stream(exchange);
      if (!bool_at(answer.last, "/success")) expect_failed(answer, "upstream_error");
    } else {
      expect_error(exchange.read_all(), 502, "upstream_error", "API Error");
    }
  }
}

TEST_F(Errors, DamagedTextNeverReachesTheBrowserDamagedInAWholeAnswer) {
  for (const char* fault : {"bad-utf8", "lone-surrogate"}) {
    SCOPED_TRACE(fault);
    const auto answer = site().ask("[[sim events=3 fault=" + std::string(fault) + "]]");
    EXPECT_NO_THROW(answer.json());
    if (answer.status != 200) expect_error(answer, 502, "upstream_error", "API Error");
  }
}

TEST_F(Errors, ALoneSurrogateBecomesAReplacementCharacter) {
  const auto answer = read_stream(site().stream("[[sim fault=lone-surrogate]]"));
  EXPECT_TRUE(bool_at(answer.last, "/success"));
  EXPECT_NE(answer.text.find("\ufffd"), std::string::npos) << answer.text;
}

TEST_F(Errors, OddButLegalAnswersAreUnderstood) {
  for (const char* fault : {"crlf", "null-finish", "last-text", "dribble interval=0"}) {
    SCOPED_TRACE(fault);
    const auto answer = read_stream(site().stream("[[sim events=4 fault=" + std::string(fault) + "]]"));
    EXPECT_EQ(answer.text, tokens(4));
    EXPECT_TRUE(bool_at(answer.last, "/success"));
  }
}

// The upstream may have accepted a question that was sent just as it closed the connection, so it is not sent
// again.
TEST(ErrorsOfIdleConnections, OnlyTheQuestionThatMeetsTheCloseFails) {
  Site site;
  EXPECT_EQ(read_stream(site.stream("[[sim events=4 fault=close-idle]]")).text, tokens(4));
  const auto meets = site.ask("[[sim events=1]]");
  if (meets.status != 200) expect_error(meets, 502, "upstream_error", "Connection failed");
  EXPECT_EQ(read_stream(site.stream("[[sim events=4]]")).text, tokens(4));
  EXPECT_LE(site.simulator().count("requests"), 3);
}

TEST_F(Errors, TheTextIsFoundInEveryKindOfAnswer) {
  for (const char* mode : {"agent", "message_format", "full_thoughts", "thoughts", "rag"}) {
    const auto prompt = "[[sim events=4 mode=" + std::string(mode) + "]]";
    SCOPED_TRACE(prompt);
    EXPECT_EQ(read_stream(site().stream(prompt)).text, tokens(4));
    EXPECT_EQ(text_at(site().ask(prompt).json(), "/result"), tokens(4));
  }
}

TEST_F(Errors, CompressionNobodyAskedForIsReadOrRefused) {
  auto exchange = site().stream("[[sim events=4 fault=gzip]]");
  if (exchange.status() == 200) {
    EXPECT_EQ(read_stream(exchange).text, tokens(4));
  } else {
    expect_error(exchange.read_all(), 502, "upstream_error", "API Error");
  }
}

TEST_F(Errors, AnyFinishWordEndsTheAnswer) {
  const auto answer = read_stream(site().stream("[[sim events=2 finish=length]]"));
  EXPECT_EQ(answer.text, tokens(2));
  EXPECT_TRUE(bool_at(answer.last, "/success"));
  EXPECT_EQ(text_at(answer.last, "/finish_reason"), "length");
  EXPECT_EQ(text_at(site().ask("[[sim events=2 finish=length]]").json(), "/finish_reason"), "length");
  EXPECT_FALSE(has(site().ask("[[sim events=2]]").json(), "/finish_reason"));
}

TEST_F(Errors, TheNextChatIsNotHarmed) {
  for (const char* fault : {"reset", "cut", "truncated-chunk", "bad-json"}) {
    SCOPED_TRACE(fault);
    site().stream("[[sim events=3 fault=" + std::string(fault) + "]]").read_all();
    EXPECT_EQ(read_stream(site().stream("[[sim events=3]]")).text, tokens(3));
  }
}

TEST_F(Errors, TheLogSaysWhatTheVisitorIsNotTold) {
  // Not the question of the streams above, which would get the same error again.
  const auto answer = site().ask("log [[sim status=403 code=App.AccessDenied framing=json]]");
  const auto line = site().responder().request_line(text_at(answer.json(), "/request_id"));
  EXPECT_EQ(text_at(line, "/outcome"), "error");
  EXPECT_EQ(number_at(line, "/status"), 502);
  EXPECT_EQ(text_at(line, "/upstream_code"), "App.AccessDenied");
  EXPECT_FALSE(text_at(line, "/upstream_request_id").empty());
}

}  // namespace
}  // namespace bailian::e2e
