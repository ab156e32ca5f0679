// Which target is asked, and which is not. completion_test.cc has the rules for one target.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dashscope/targets.h"
#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

constexpr Seconds kNever{60};
constexpr Seconds kSoon{0.05};
constexpr auto kStream = AnswerMode::kStream;
constexpr auto kJson = AnswerMode::kJson;

std::string event(const std::string& text, const std::string& finish = "null") {
  return R"(data:{"output":{"session_id":"s","finish_reason":")" + finish + R"(","text":")" + text +
         "\"}}\n\n";
}
std::string whole(int status, const std::string& type, const std::string& body,
                  const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body;
}
std::string error(int status, const std::string& code, const std::string& more = "",
                  const std::string& headers = "") {
  return whole(status, "application/json", R"({"code":")" + code + R"(","message":"m")" + more + "}",
               headers);
}
std::string error_event(int status, const std::string& code) {
  return whole(200, "text/event-stream",
               "event:error\n:HTTP_STATUS/" + std::to_string(status) + "\ndata:{\"code\":\"" + code +
                   "\",\"message\":\"m\"}\n\n");
}
const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const std::string kAnswer = whole(200, "text/event-stream", event("a", "stop"));

// Records the calls of a completion, and stops the loop at the last.
class Visitor : public AnswerHandler {
 public:
  explicit Visitor(EventLoop& loop) : loop_(loop) {}
  std::string log;
  std::function<void()> after_failover;
  std::function<void()> after_end = [this] { loop_.stop(); };

  void on_text(std::string_view text) override { log.append("text:").append(text).append(";"); }
  void on_thought(std::string_view text) override { log.append("thought:").append(text).append(";"); }
  void on_finished(const Answer&) override { end("finished"); }
  void on_retry(const UpstreamError& error) override { log += "retry:" + error.code + ";"; }
  void on_failover(const UpstreamError& error, const Target& from) override {
    log += "failover from " + std::to_string(from.number) + ":" + error.code + ";";
    if (after_failover) after_failover();
  }
  void on_failed(const UpstreamError& error) override {
    was_free = error.retryable;
    end("failed:" + error.code);
  }
  void on_exception(const std::exception& error) noexcept override { end(error.what()); }

  bool was_free = false;

 private:
  void end(const std::string& how) {
    log += how + ";";
    after_end();
  }
  EventLoop& loop_;
};

class Failover : public testing::Test {
 protected:
  Failover() {
    config_.targets.resize(2);
    for (size_t i = 0; i < 2; ++i) {
      Target& target = config_.targets[i];
      target.number = static_cast<int>(i) + 1;
      target.api_key = "sk-0123456789abcdef";
      target.app_id = "app";
    }
    config_.targets[0].base_url = first_.base_url();
    config_.targets[1].base_url = second_.base_url();
    config_.parameters_json = "{}";
    config_.connect_timeout = config_.first_token_timeout = config_.idle_timeout = config_.timeout = kNever;
    hung_.start(std::chrono::seconds(20));
  }

  void ask(AnswerMode mode = kStream, const std::string& session = "") {
    if (!targets_) targets_.emplace(loop_, config_, healths_, received_);
    Question question;
    question.mode = mode;
    question.prompt = "q";
    question.session_id = session;
    completion_.reset();
    visitor_.log.clear();
    completion_ = targets_->ask(question, mode, visitor_);
  }
  std::string outcome(AnswerMode mode = kStream, const std::string& session = "") {
    ask(mode, session);
    loop_.run();
    return visitor_.log;
  }
  struct Asked {
    int target;
    std::string session;  // of the answer
    bool has_lost_session;
  };
  // Asks with each session in turn.
  std::vector<Asked> outcomes(const std::vector<std::string>& sessions) {
    std::vector<Asked> asked;
    visitor_.after_end = [&] {
      asked.push_back(
          {completion_->target()->number, completion_->answer().session_id, completion_->has_lost_session()});
      if (asked.size() == sessions.size()) return loop_.stop();
      loop_.post([&] { ask(kStream, sessions[asked.size()]); });
    };
    ask(kStream, sessions.front());
    loop_.run();
    return asked;
  }
  // The requests that each target has had, as in "1+2".
  [[nodiscard]] std::string requests() const {
    return std::to_string(first_.requests()) + "+" + std::to_string(second_.requests());
  }
  TargetHealth& health(size_t index) { return *healths_.of(config_.targets[index]); }
  void cool(size_t index, CoolDown kind = CoolDown::kLong) {
    health(index).note_failure(kind, Clock::duration::zero(), Clock::now());
  }
  void let_rest(size_t index) {
    health(index).note_failure(CoolDown::kBrief, Clock::duration::zero(),
                               Clock::now() - std::chrono::seconds(5));
  }
  void on_hung() {
    ADD_FAILURE() << "waits for what does not happen; so far: " << visitor_.log;
    loop_.stop();
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Timer hung_{loop_, bind<&Failover::on_hung>(this)};
  Tally received_;
  Config config_;
  LoopUpstream first_{loop_};
  LoopUpstream second_{loop_};
  Visitor visitor_{loop_};
  TargetHealths healths_;
  std::optional<Targets> targets_;
  std::unique_ptr<Completion> completion_;
};

// --- each fault ---

struct FaultCase {
  const char* name;
  LoopUpstream::Reply reply;
  bool other_is_asked;
};

class FailoverAfter : public Failover,
                      public testing::WithParamInterface<std::tuple<FaultCase, AnswerMode>> {};

TEST_P(FailoverAfter, AFaultThatAnotherTargetMayNotHave) {
  const auto& [fault, mode] = GetParam();
  first_.script = {fault.reply};
  second_.script = {{kAnswer}};
  const std::string log = outcome(mode);
  EXPECT_EQ(requests(), fault.other_is_asked ? "1+1" : "1+0");
  EXPECT_EQ(log.starts_with("failover from 1:"), fault.other_is_asked) << log;
  EXPECT_EQ(log.ends_with(";text:a;finished;"), fault.other_is_asked) << log;
  EXPECT_EQ(completion_->target()->number, fault.other_is_asked ? 2 : 1);
  const bool is_well = health(0).view(Clock::now()).state == TargetHealth::State::kWell;
  EXPECT_NE(is_well, fault.other_is_asked);
}

INSTANTIATE_TEST_SUITE_P(
    Targets, FailoverAfter,
    testing::Combine(
        testing::Values(
            FaultCase{"BadKey", {error(401, "InvalidApiKey")}, true},
            FaultCase{"UnknownApplication", {error(404, "InvalidAppId")}, true},
            FaultCase{"WorkspaceDenied", {error(403, "Workspace.AccessDenied")}, true},
            FaultCase{"Throttling", {error(429, "Throttling.RateQuota")}, true},
            FaultCase{"ThrottlingAsAnEvent", {error_event(429, "Throttling")}, true},
            FaultCase{"Arrears", {error(400, "Arrearage")}, true},
            FaultCase{"Budget",
                      {whole(429, "application/json",
                             R"({"code":"LimitRequests","message":"see Budget Management"})")},
                      true},
            FaultCase{"ModelServingError", {error(503, "ModelServingError")}, true},
            FaultCase{"InternalError", {error(500, "InternalError")}, true},
            FaultCase{"InternalErrorAsAnEvent", {error_event(500, "InternalError")}, true},
            FaultCase{"GatewayPage", {whole(502, "text/html", "<html>Bad Gateway</html>")}, true},
            FaultCase{"RequestTimeOut", {error(408, "RequestTimeOut")}, true},
            FaultCase{"RefusedContent", {error(400, "DataInspectionFailed")}, false},
            FaultCase{
                "RefusedContentWith500", {error(500, "InternalError.Algo.DataInspectionFailed")}, false},
            FaultCase{"BadRequest", {error(400, "InvalidParameter")}, false},
            FaultCase{"BadConversation", {error(400, "ServiceUnavailableError")}, false},
            FaultCase{"TooLarge", {error(413, "BadRequest.TooLarge")}, false},
            FaultCase{"PageWith200", {whole(200, "text/html", "<html>Welcome</html>")}, false},
            FaultCase{"Nonsense", {whole(200, "text/event-stream", "data:nonsense\n\n")}, false},
            FaultCase{"EmptyAnswer", {whole(200, "text/event-stream", "")}, false},
            FaultCase{"BrokenConnection", {"", true}, false},
            FaultCase{"AnErrorWithUsage",
                      {error(500, "InternalError", R"(,"usage":{"models":[{"input_tokens":3}]})")},
                      false},
            FaultCase{
                "AnErrorAfterAThought",
                {whole(
                    200, "text/event-stream",
                    R"(data:{"output":{"text":"","thoughts":[{"action_type":"reasoning","thought":"hm"}]}})"
                    "\n\nevent:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\"}\n\n")},
                false},
            FaultCase{
                "AnErrorAfterText",
                {whole(200, "text/event-stream",
                       event("x") + "event:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\"}\n\n")},
                false},
            FaultCase{
                "ThrottlingAfterText",
                {whole(200, "text/event-stream",
                       event("x") + "event:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling\"}\n\n")},
                false}),
        testing::Values(kStream, kJson)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param).name) +
             (std::get<1>(test.param) == kStream ? "OfAStream" : "OfAWholeAnswer");
    });

TEST_F(Failover, FollowsARefusedConnection) {
  config_.targets[0].base_url = base_url_of(listen_on_loopback(0));  // closed again
  config_.upstream_retries = 3;
  second_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "failover from 1:connect_failed;text:a;finished;");
  EXPECT_EQ(completion_->retries(), 0);
}

TEST_F(Failover, FollowsSilenceBeforeTheFirstToken) {
  config_.first_token_timeout = kSoon;
  first_.script = {{kHead + ":keepalive\n\n"}};
  bool has_left = false;
  first_.on_disconnected = [&] { has_left = true; };
  second_.on_request = [&] {
    EXPECT_TRUE(has_left) << "two requests at once";
    second_.send(kAnswer);
  };
  EXPECT_EQ(outcome(), "failover from 1:first_token_timeout;text:a;finished;");
}

TEST_F(Failover, DoesNotFollowSilenceInAnAnswer) {
  config_.idle_timeout = kSoon;
  first_.script = {{kHead + event("x")}};
  EXPECT_EQ(outcome(), "text:x;failed:idle_timeout;");
  EXPECT_EQ(requests(), "1+0");
}

TEST_F(Failover, HasNoTimeOfItsOwn) {
  config_.timeout = kSoon;
  first_.script = {{error(500, "InternalError")}};
  EXPECT_EQ(outcome(), "failover from 1:InternalError;failed:timeout;");
  EXPECT_EQ(requests(), "1+1");
}

TEST_F(Failover, AsksNobodyWhenTheVisitorLeaves) {
  first_.script = {{error(500, "InternalError")}};
  second_.script = {{kAnswer}};
  visitor_.after_failover = [this] {
    loop_.post([this] { loop_.stop(); });
    completion_->cancel();
  };
  outcome();
  EXPECT_EQ(requests(), "1+0");
}

TEST_F(Failover, AsksEachTargetOnce) {
  first_.script = second_.script = {{error(500, "InternalError")}, {kAnswer}};
  EXPECT_EQ(outcome(), "failover from 1:InternalError;failed:InternalError;");
  EXPECT_EQ(requests(), "1+1");
}

TEST_F(Failover, ComesBeforeARetryAndLeavesTheRetriesToTheLast) {
  config_.upstream_retries = 2;
  first_.script.assign(9, {error(429, "Throttling")});
  second_.script.assign(9, {error(429, "Throttling")});
  EXPECT_EQ(outcome(), "failover from 1:Throttling;retry:Throttling;retry:Throttling;failed:Throttling;");
  EXPECT_EQ(requests(), "1+3");
  EXPECT_TRUE(visitor_.was_free);
}

TEST_F(Failover, MayHaveCostSomethingEvenIfTheLastAttemptWasFree) {
  first_.script = {{error(500, "InternalError")}};
  second_.script = {{error(429, "Throttling")}};
  EXPECT_EQ(outcome(), "failover from 1:InternalError;failed:Throttling;");
  EXPECT_FALSE(visitor_.was_free);
}

// --- who is asked ---

TEST_F(Failover, SkipsATargetThatRests) {
  cool(0);
  second_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "text:a;finished;");
  EXPECT_EQ(requests(), "0+1");
}

TEST_F(Failover, AsksTheOneWhoseRestEndsFirstWhenAllRest) {
  cool(0);
  cool(1, CoolDown::kThrottled);
  second_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "text:a;finished;");
  EXPECT_EQ(requests(), "0+1");
  EXPECT_EQ(health(1).view(Clock::now()).state, TargetHealth::State::kWell);
}

TEST_F(Failover, AsksARestingTargetOnlyAfterTheRetries) {
  config_.upstream_retries = 1;
  cool(1);
  first_.script.assign(2, {error(429, "Throttling")});
  second_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "retry:Throttling;failover from 1:Throttling;text:a;finished;");
  EXPECT_EQ(requests(), "2+1");
}

TEST_F(Failover, LetsOneChatProbeATargetThatHasRested) {
  let_rest(0);
  first_.script = {{kHead}};
  second_.script = {{kAnswer}};
  ask();
  Visitor other(loop_);
  Question question;
  question.prompt = "q";
  const auto second = targets_->ask(question, kStream, other);
  EXPECT_EQ(completion_->target()->number, 1);
  EXPECT_EQ(second->target()->number, 2);
  completion_.reset();  // its visitor has left
  EXPECT_EQ(targets_->ask(question, kStream, other)->target()->number, 1);
}

TEST_F(Failover, EndsAProbeWithTheFirstPiece) {
  let_rest(0);
  first_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "text:a;finished;");
  EXPECT_EQ(health(0).view(Clock::now()).state, TargetHealth::State::kWell);
}

TEST_F(Failover, DoesWithoutTargetsThatAreNotConfigured) {
  config_.targets[1].api_key = "";
  first_.script = {{error(500, "InternalError")}};
  EXPECT_EQ(outcome(), "failed:InternalError;");
  EXPECT_EQ(targets_->clients().size(), 1U);
}

// --- sessions ---

TEST_F(Failover, KeepsASessionOnItsTarget) {
  first_.script = second_.script = {{kAnswer}, {kAnswer}};
  const std::string of_second = mark_session("s", config_.targets[1]);
  const auto asked = outcomes({of_second, of_second, "s"});
  ASSERT_EQ(asked.size(), 3U);
  for (const Asked& one : asked) EXPECT_FALSE(one.has_lost_session);
  EXPECT_EQ(asked[0].target, 2);
  EXPECT_EQ(asked[0].session, of_second);
  EXPECT_EQ(asked[1].target, 2);
  EXPECT_EQ(asked[2].target, 1) << "a session from the time with one target";
  EXPECT_EQ(asked[2].session, mark_session("s", config_.targets[0]));
}

TEST_F(Failover, LosesTheSessionOfATargetThatFails) {
  first_.script = {{error(500, "InternalError")}};
  second_.script = {{kAnswer}, {kAnswer}};
  const std::string session = mark_session("s", config_.targets[0]);
  const auto asked = outcomes({session, session});  // the second time its target rests
  ASSERT_EQ(asked.size(), 2U);
  for (const Asked& one : asked) {
    EXPECT_TRUE(one.has_lost_session);
    EXPECT_EQ(one.session, mark_session("s", config_.targets[1]));
  }
  EXPECT_EQ(requests(), "1+2");
}

TEST_F(Failover, LosesAForgedSession) {
  first_.script = {{kAnswer}};
  EXPECT_EQ(outcome(kStream, "s~0123456789abcdef01234567"), "text:a;finished;");
  EXPECT_TRUE(completion_->has_lost_session());
}

TEST_F(Failover, SendsASessionOnlyToItsTarget) {
  first_.script = {{error(500, "InternalError")}};
  second_.script = {{kAnswer}};
  outcome(kStream, mark_session("my-session", config_.targets[0]));
  EXPECT_NE(first_.last_request().find(R"("session_id":"my-session")"), std::string::npos);
  EXPECT_EQ(second_.last_request().find("session"), std::string::npos);
  EXPECT_NE(second_.last_request().find(R"("prompt":"q")"), std::string::npos);
}

TEST_F(Failover, LeavesTheSessionsOfASingleTargetAsTheyAre) {
  const std::string of_two = mark_session("s", config_.targets[0]);  // made when there were two
  config_.targets.pop_back();
  first_.script = {{kAnswer}, {kAnswer}};
  const auto asked = outcomes({"", of_two});
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].session, "s");
  EXPECT_FALSE(asked[1].has_lost_session);
  EXPECT_NE(first_.last_request().find(R"("session_id":"s")"), std::string::npos);
}

}  // namespace
}  // namespace bailian
