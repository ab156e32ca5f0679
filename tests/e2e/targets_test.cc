// Several targets: after which faults the next one is asked, and that nobody notices.

#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "harness/answer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

constexpr const char* kSecondKey = "sk-second-1f0e2d3c4b5a69788796a5b4c3d2e1f0";

// The first target is the simulator, the second this script.
class Targets : public testing::Test {
 protected:
  static Settings settings(const ScriptedUpstream& second) {
    return {{"DASHSCOPE_BASE_URL_2", second.base_url()},
            {"DASHSCOPE_API_KEY_2", kSecondKey},
            {"FIRST_TOKEN_TIMEOUT", "0.3"},
            {"UPSTREAM_RETRIES", "2"},
            {"DEBUG", "True"}};
  }

  // Ends all rests of targets.
  void reload() {
    site_.responder().process().signal(SIGHUP);
    site_.responder().event("reloaded", ++reloads_);
    site_.simulator().reset();
  }

  static void send_answer(const UpstreamCall& call, bool streams) {
    if (streams) {
      call.send_stream_head();
      call.send_text("from two");
      return call.finish();
    }
    const std::string body = R"({"output":{"text":"from two","finish_reason":"stop","session_id":"s2"}})";
    call.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  // Asks, with the second target ready to answer. Returns what the visitor reads.
  std::string text_from_second(const std::string& prompt, bool streams) {
    auto exchange = streams ? site_.stream(prompt) : site_.chat(prompt);
    const auto call = second_.accept();
    EXPECT_NE(call.head().find(std::string("Authorization: Bearer ") + kSecondKey), std::string::npos);
    EXPECT_EQ(site_.simulator().count("open"), 0) << "two requests at once";
    send_answer(call, streams);
    return streams ? read_stream(exchange).text : text_at(exchange.read_all().json(), "/result");
  }

  [[nodiscard]] bool counts(const std::string& line) const {
    return site_.get("/metrics").body.find("\n" + line + "\n") != std::string::npos;
  }

  ScriptedUpstream second_;
  Site site_{{.settings = settings(second_)}};
  int reloads_ = 0;
};

struct FaultRow {
  const char* directive;
  bool other_is_asked;
};
constexpr FaultRow kFaultRows[] = {
    {"code=InvalidApiKey", true},
    {"code=App.AccessDenied", true},
    {"code=WorkSpaceNotFound", true},
    {"code=Throttling.RateQuota", true},
    {"code=Throttling.RateQuota framing=sse200", true},
    {"code=insufficient_quota", true},
    {"code=Arrearage", true},
    {"code=PostpaidBillOverdue", true},
    {"status=429 message=budget", true},
    {"code=RequestTimeOut", true},
    {"code=InternalError", true},
    {"code=InternalError framing=sse200", true},
    {"code=ModelServingError", true},
    {"code=ModelUnavailable", true},
    {"fault=plain503", true},
    {"code=DataInspectionFailed", false},
    {"code=InvalidParameter", false},
    {"code=ServiceUnavailableError", false},
    {"code=BadRequest.TooLarge", false},
    {"fault=html", false},
    {"fault=empty", false},
    {"fault=reset", false},
    {"fault=redirect", false},
};

TEST_F(Targets, EachFaultSaysWhetherTheNextIsAsked) {
  for (const auto& [directive, other_is_asked] : kFaultRows) {
    for (const bool streams : {true, false}) {
      SCOPED_TRACE(std::string(directive) + (streams ? " as a stream" : " as a whole"));
      const std::string prompt = std::string("[[sim ") + directive + "]]" + (streams ? "s" : "w");
      if (other_is_asked) {
        EXPECT_EQ(text_from_second(prompt, streams), "from two");
      } else {
        const auto answer = streams ? site_.stream(prompt).read_all() : site_.ask(prompt);
        EXPECT_GE(answer.status, 400);
      }
      EXPECT_FALSE(second_.is_called());
      EXPECT_EQ(site_.simulator().count("requests"), 1);
      reload();
    }
  }
}

TEST_F(Targets, TheNextIsAskedAfterSilenceAndTheFirstRequestIsCancelled) {
  EXPECT_EQ(text_from_second("[[sim fault=hang]]", true), "from two");
  EXPECT_TRUE(site_.simulator().reaches("cut", 1));
  EXPECT_EQ(site_.simulator().count("events"), 0);
}

TEST_F(Targets, NothingIsAskedAgainOnceAPartOfTheAnswerHasArrived) {
  for (const char* directive : {"status=500 after=1", "status=429 code=Throttling after=1",
                                "fault=cut after=1", "mode=thoughts status=500 after=1"}) {
    SCOPED_TRACE(directive);
    site_.simulator().reset();
    const auto answer = read_stream(site_.stream(std::string("[[sim events=5 ") + directive + "]]"));
    EXPECT_FALSE(bool_at(answer.last, "/success"));
    EXPECT_FALSE(second_.is_called());
    EXPECT_EQ(site_.simulator().count("requests"), 1);
  }
}

TEST_F(Targets, ATargetThatHasFailedIsSkippedUntilAReload) {
  EXPECT_EQ(text_from_second("[[sim code=InvalidApiKey]]", true), "from two");
  EXPECT_EQ(text_from_second("[[sim events=2]]", true), "from two");
  EXPECT_EQ(site_.simulator().count("requests"), 1);
  const Json failover = site_.responder().event("failover");
  EXPECT_EQ(number_at(failover, "/from"), 1);
  EXPECT_EQ(number_at(failover, "/to"), 2);
  EXPECT_EQ(text_at(failover, "/fault"), "auth");
  EXPECT_TRUE(counts(R"(bailian_target_cooling{bot="default",target="1"} 1)"));
  EXPECT_TRUE(counts(R"(bailian_target_cooling{bot="default",target="2"} 0)"));
  reload();
  EXPECT_TRUE(counts(R"(bailian_target_cooling{bot="default",target="1"} 0)"));
  EXPECT_EQ(read_stream(site_.stream("[[sim events=2]]")).text, tokens(2));
  EXPECT_FALSE(second_.is_called());
}

TEST_F(Targets, AreCountedApart) {
  EXPECT_TRUE(counts(R"(bailian_upstream_requests_total{bot="default",target="2"} 0)"));
  EXPECT_EQ(text_from_second("[[sim code=InvalidApiKey]]", true), "from two");
  EXPECT_EQ(text_from_second("[[sim events=2]]", true), "from two");
  for (const char* line :
       {R"(bailian_upstream_requests_total{bot="default",target="1"} 1)",
        R"(bailian_upstream_requests_total{bot="default",target="2"} 2)",
        R"(bailian_upstream_errors_total{bot="default",code="InvalidApiKey",fault="auth",target="1"} 1)",
        R"(bailian_failovers_total{bot="default",from="1",to="2"} 1)"}) {
    EXPECT_TRUE(counts(line)) << line;
  }
}

TEST_F(Targets, NoKeyOfATargetIsShown) {
  auto exchange = site_.stream("[[sim code=InternalError]]");
  const auto call = second_.accept();
  const std::string body = std::string(R"({"code":"InvalidParameter","message":"key )") + kSecondKey +
                           R"( is odd","request_id":")" + kSecondKey + "\"}";
  call.send("HTTP/1.1 400 X\r\nContent-Type: application/json\r\nContent-Length: " +
            std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto answer = exchange.read_all();
  EXPECT_EQ(answer.status, 502);
  EXPECT_NE(answer.body.find("is odd"), std::string::npos);
  EXPECT_EQ(answer.body.find(kSecondKey), std::string::npos);
  site_.responder().event("request");
  EXPECT_EQ(site_.responder().log().find(kSecondKey), std::string::npos);
  EXPECT_TRUE(site_.responder().logs(R"("target":2,"upstream_code":"InvalidParameter")"));
}

std::string body_with_session(const std::string& session) {
  return R"({"last_prompt":"[[sim events=1]]","session_id":)" + json_string(session) + "}";
}

TEST_F(Targets, ASessionIsGivenBackToItsTargetAsItCame) {
  const auto first = site_.post(kChatPath, body_with_session("")).json();
  const std::string session = text_at(first, "/session_id");
  ASSERT_EQ(session.size(), 32U + 25U) << session;
  const auto second = site_.post(kChatPath, body_with_session(session)).json();
  EXPECT_EQ(text_at(second, "/session_id"), session);
  EXPECT_EQ(text_at(site_.simulator().last_request(), "/body/input/session_id"), session.substr(0, 32));
  EXPECT_EQ(site_.responder().log().find("session_lost"), std::string::npos);
}

TEST_F(Targets, AForgedSessionStartsAnew) {
  const auto answer = site_.post(kChatPath, body_with_session("x~0123456789abcdef01234567"));
  EXPECT_EQ(answer.status, 200);
  site_.responder().event("session_lost");
  EXPECT_FALSE(has(site_.simulator().last_request(), "/body/input/session_id"));
}

// The whole answer of a target that refuses, after which the connection is closed.
std::string refusal(const std::string& status, const std::string& code) {
  const std::string body = R"({"code":")" + code + R"(","message":"m"})";
  return "HTTP/1.1 " + status +
         " X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST_F(Targets, ShowTheirStateInStatusAndTop) {
  const auto page = [&] { return site_.get("/status?json").json(); };
  const auto top = [&] {
    return run(responder_command(site_.dir(), {}, {"top", "-l", site_.dir().socket("fcgi")})).out;
  };
  const auto shows = [](const std::string& text, const std::string& start) {
    return text.find("\n" + start) != std::string::npos;
  };
  const std::string row = "default                               1 ";
  const auto app = std::string(kAppId);
  EXPECT_TRUE(shows(site_.get("/status").body, row + "well          " + app)) << site_.get("/status").body;
  EXPECT_TRUE(shows(top(), row + "well          " + app)) << top();

  EXPECT_EQ(text_from_second("[[sim code=InvalidApiKey]]", true), "from two");
  EXPECT_EQ(text_at(page(), "/targets/0/bot"), "default");
  EXPECT_EQ(number_at(page(), "/targets/0/target"), 1);
  EXPECT_EQ(text_at(page(), "/targets/0/state"), "cooling");
  EXPECT_GT(number_at(page(), "/targets/0/rests_for"), 200);
  EXPECT_LE(number_at(page(), "/targets/0/rests_for"), 300);
  EXPECT_EQ(text_at(page(), "/targets/1/state"), "well");
  EXPECT_EQ("http://" + text_at(page(), "/targets/1/host") + "/api/v1", second_.base_url());
  EXPECT_TRUE(shows(site_.get("/status").body, row + "cooling "));
  EXPECT_TRUE(shows(top(), row + "cooling "));

  auto exchange = site_.stream("[[sim events=2]]");
  second_.accept().send(refusal("401", "InvalidApiKey"));
  EXPECT_EQ(read_stream(exchange).text, tokens(2)) << "the first is mended, and its rest would end first";
  EXPECT_EQ(text_at(page(), "/targets/0/state"), "well");
  EXPECT_EQ(number_at(page(), "/targets/0/rests_for"), 0);
  EXPECT_EQ(text_at(page(), "/targets/1/state"), "cooling");
  EXPECT_TRUE(shows(site_.get("/status").body, row + "well "));
  EXPECT_TRUE(shows(top(), row + "well "));
}

TEST(AttemptsAtTargets, ShareOneTimeout) {
  const ScriptedUpstream second;
  Site site(
      {.settings = {
           {"DASHSCOPE_BASE_URL_2", second.base_url()}, {"FIRST_TOKEN_TIMEOUT", "0.6"}, {"TIMEOUT", "1"}}});
  auto exchange = site.stream("[[sim fault=hang]]");
  const auto call = second.accept();
  EXPECT_EQ(exchange.read_all().status, 504);
  EXPECT_TRUE(call.is_dropped());
  const Json line = site.responder().event("request");
  EXPECT_EQ(number_at(line, "/target"), 2);
  EXPECT_EQ(text_at(line, "/upstream_code"), "timeout") << "its FIRST_TOKEN_TIMEOUT ends later";
}

TEST(AttemptsAtTargets, ShareTheRetriesOfTheChat) {
  const ScriptedUpstream second;
  Site site({.settings = {{"DASHSCOPE_BASE_URL_2", second.base_url()}, {"UPSTREAM_RETRIES", "1"}}});
  const char* const prompt = "[[sim code=Throttling]]";
  auto exchange = site.stream(prompt);
  second.accept().send(refusal("500", "InternalError"));
  EXPECT_EQ(exchange.read_all().status, 502);
  EXPECT_EQ(site.simulator().count("requests"), 1);

  site.simulator().reset();  // both rest, the second shorter
  exchange = site.stream(prompt);
  for (int i = 0; i < 2; ++i) second.accept().send(refusal("429", "Throttling"));
  EXPECT_EQ(exchange.read_all().status, 429);
  EXPECT_EQ(site.simulator().count("requests"), 1) << "the only retry was the second target's";
  EXPECT_FALSE(second.is_called());
}

TEST(AttemptsAtTargets, EndWhenTheVisitorLeaves) {
  const ScriptedUpstream second;
  Site site({.settings = {{"DASHSCOPE_BASE_URL_2", second.base_url()}}});
  auto exchange = site.stream("[[sim fault=hang]]");
  EXPECT_TRUE(site.simulator().reaches("open", 1));
  exchange.close();
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
  EXPECT_EQ(text_at(site.responder().request_line_for_path(kStreamPath), "/outcome"), "client_gone");
  EXPECT_FALSE(second.is_called());
}

TEST(FallbackApplication, IsNamedAtTheStartWhenItHasNoKey) {
  Site site({.settings = {{"APP_ID_2", "b"}, {"DASHSCOPE_API_KEY_2", "sk-your-key"}}});
  EXPECT_EQ(text_at(site.responder().event("not_configured"), "/message"),
            "target 2 is not asked: it has no key");
  EXPECT_EQ(site.ask("[[sim events=3]]").status, 200);
}

TEST(FallbackApplication, NoVisitorNoticesTheLossOfTheFirst) {
  Site site({.settings = {{"APP_ID", "gone"}, {"APP_ID_2", std::string(kAppId)}}});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(site.ask("[[sim events=3]]").status, 200);
  EXPECT_EQ(site.simulator().count("requests"), 1 + 5) << "the first is asked once";
  EXPECT_TRUE(site.responder().logs(R"("target":2)"));
}

}  // namespace
}  // namespace bailian::e2e
