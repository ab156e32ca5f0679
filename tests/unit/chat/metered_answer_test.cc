#include "chat/metered_answer.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "unit/chat/scripted_ledger.h"
#include "unit/loop_steps.h"
#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

constexpr Seconds kNever{60};
constexpr Seconds kSoon{0.05};

std::string frame(const std::string& text, int input, int output, const std::string& finish = "null",
                  const std::string& thought = "") {
  std::string thoughts;
  if (!thought.empty())
    thoughts = R"("thoughts":[{"action_type":"reasoning","thought":")" + thought + R"("}],)";
  std::string usage;
  if (output > 0) {
    usage = R"(,"usage":{"models":[{"model_id":"m","input_tokens":)" + std::to_string(input) +
            R"(,"output_tokens":)" + std::to_string(output) + "}]}";
  }
  return R"(data:{"output":{)" + thoughts + R"("session_id":"s","finish_reason":")" + finish +
         R"(","text":")" + text + "\"}" + usage + "}\n\n";
}
std::string error_frame(int status, const std::string& code) {
  return "event:error\n:HTTP_STATUS/" + std::to_string(status) + "\ndata:{\"code\":\"" + code +
         "\",\"message\":\"\"}\n\n";
}
const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n\r\n";

std::string json(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}
const std::string kThrottled = json(429, R"({"code":"Throttling","message":"slow down"})");

// Records what a chat would be told.
class Visitor final : public AnswerHandler {
 public:
  std::string log;
  bool has_ended = false;
  std::function<void()> after_text = [] {};
  std::function<void()> after_refusal = [] {};
  std::chrono::seconds retry_after{0};
  bool forbids_retry = false;

  void on_text(std::string_view text) override {
    log.append("text:").append(text).append(";");
    after_text();
  }
  void on_thought(std::string_view thought) override { log.append("thought:").append(thought).append(";"); }
  void on_request(const Target& target) noexcept override {
    log += "request:" + std::to_string(target.number) + ";";
  }
  void on_finished(const Answer& answer) override { end("finished:" + answer.finish_reason); }
  void on_retry(const UpstreamError& error) override { log += "retry:" + error.code + ";"; }
  void on_failover(const UpstreamError& error, const Target&) override {
    log += "failover:" + error.code + ";";
  }
  void on_failed(const UpstreamError& error) override { end("failed:" + error.code); }
  void on_refused(const HttpError& error) override {
    retry_after = error.retry_after();
    forbids_retry = error.forbids_retry();
    end("refused:" + std::to_string(error.status()) + " " + std::string(error.code()));
    after_refusal();
  }
  void on_exception(const std::exception& error) noexcept override {
    end(std::string("exception:") + error.what());
  }

 private:
  void end(const std::string& how) {
    log += how + ";";
    has_ended = true;
  }
};

class MeteredAnswers : public testing::Test {
 protected:
  MeteredAnswers() {
    config_.targets[0].api_key = "sk-0123456789abcdef";
    config_.targets[0].app_id = "app";
    config_.targets[0].base_url = upstream_.base_url();
    config_.parameters_json = "{}";
    config_.connect_timeout = config_.first_token_timeout = config_.idle_timeout = config_.timeout = kNever;
    upstream_.on_disconnected = [this] { upstream_left_ = true; };
  }

  void ask(AnswerMode mode = AnswerMode::kStream) {
    if (!snapshot_) snapshot_ = std::make_unique<ConfigSnapshot>(loop_, config_, state_, received_);
    Question question;
    question.prompt = "question";
    question.mode = mode;
    answer_ = std::make_unique<MeteredAnswer>(loop_, pauses_, ledger_, snapshot_->bots.front(), question,
                                              "192.0.2.1", "key", visitor_);
  }
  // What a chat is told of an answer that ends by itself.
  std::string outcome(AnswerMode mode = AnswerMode::kStream) {
    ask(mode);
    when_ended();
    play();
    return visitor_.log;
  }
  void when(
      std::function<bool()> holds, std::function<void()> action = [] {}) {
    steps_.when(std::move(holds), std::move(action));
  }
  void when_asked(std::function<void()> action = [] {}) {
    when([this, before = upstream_.requests()] { return upstream_.requests() > before; }, std::move(action));
  }
  void when_log(
      const std::string& end, std::function<void()> action = [] {}) {
    when([this, end] { return ledger_.log.ends_with(end); }, std::move(action));
  }
  void when_ended(std::function<void()> action = [] {}) {
    when([this] { return visitor_.has_ended; }, std::move(action));
  }
  void when_settled(std::function<void()> action = [] {}) { steps_.when_settled(std::move(action)); }
  // The owner pauses at once, and the next look at open answers is due.
  void pause_at_once() {
    ledger_.is_paused = true;
    EXPECT_TRUE(timers_.end_between(std::chrono::seconds(0), PauseWatch::kInterval));
  }
  void play() { steps_.play(); }
  // What the ledger was told in all, once the answer is gone.
  std::string account() {
    answer_.reset();
    EXPECT_EQ(ledger_.open_leases, 0);
    return ledger_.log;
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopTimers timers_{loop_};
  Tally received_;
  Config config_;
  LoopUpstream upstream_{loop_};
  bool upstream_left_ = false;
  ScriptedLedger ledger_;
  PauseWatch pauses_{loop_};
  ServiceState state_{config_};
  std::unique_ptr<ConfigSnapshot> snapshot_;
  Visitor visitor_;
  std::unique_ptr<MeteredAnswer> answer_;
  LoopSteps steps_{loop_, [this] { return visitor_.log + " " + ledger_.log; }};
};

// --- the lease comes first ---

TEST_F(MeteredAnswers, AskOnceTheyHaveALease) {
  upstream_.script = {{kHead + frame("a", 3, 1) + frame("", 3, 2, "stop")}};
  EXPECT_EQ(outcome(), "request:1;text:a;finished:stop;");
  EXPECT_EQ(account(), "take;3+2;finish;free;");
  EXPECT_EQ(ledger_.used, 5U);
  EXPECT_EQ(ledger_.visitor, "192.0.2.1");
  EXPECT_EQ(ledger_.question_bytes, 8U);
}

TEST_F(MeteredAnswers, AskNobodyWhenTheyAreRefused) {
  struct Case {
    Refusal refusal;
    int status;
    std::string code;
    std::string words;
  };
  const std::string longest(kMaxPauseMessageBytes, 'x');
  std::map<std::string, int> refusals;  // by code
  for (const auto& [refusal, status, code, words] :
       {Case{{Refusal::Cause::kUsedUp, std::chrono::seconds(7)},
             429,
             "budget_used_up",
             "The budget is used up"},
        {{Refusal::Cause::kVisitorUsedUp}, 429, "visitor_budget_used_up", "Your budget for today is used up"},
        {{Refusal::Cause::kPaused}, 503, "paused", "The chat is paused"},
        {{Refusal::Cause::kPaused, {}, "周一再来"}, 503, "paused", "周一再来"},
        {{Refusal::Cause::kPaused, {}, "\xff"}, 503, "paused", "The chat is paused"},
        {{Refusal::Cause::kPaused, {}, longest + "y"}, 503, "paused", longest},
        {{Refusal::Cause::kUnknown}, 503, "budget_unknown", "The budget cannot be checked"}}) {
    ledger_.refusal = refusal;
    ledger_.log.clear();
    try {
      ask();
      ADD_FAILURE() << code << " is let through";
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status(), status);
      EXPECT_EQ(error.code(), code);
      EXPECT_EQ(error.what(), words);
      EXPECT_EQ(error.retry_after(), refusal.retry_after);
      EXPECT_TRUE(error.forbids_retry());
    }
    EXPECT_NE(state_.metrics.text({}).find("bailian_refusals_total{bot=\"default\",code=\"" + code + "\"} " +
                                           std::to_string(++refusals[code]) + "\n"),
              std::string::npos);
    EXPECT_EQ(ledger_.log, "take;refused;");
  }
  when_settled();
  play();
  EXPECT_EQ(upstream_.requests(), 0U);
}

TEST_F(MeteredAnswers, MayBeAskedForAgainWhenAnotherProcessIsAnswering) {
  ledger_.refusal = {Refusal::Cause::kUnderWay, std::chrono::seconds(1)};
  try {
    ask();
    ADD_FAILURE();
  } catch (const HttpError& error) {
    EXPECT_EQ(error.status(), 409);
    EXPECT_EQ(error.code(), "idempotency_in_progress");
    EXPECT_STREQ(error.what(), "The question with this Idempotency-Key is being answered");
    EXPECT_EQ(error.retry_after(), std::chrono::seconds(1));
    EXPECT_FALSE(error.forbids_retry());
  }
  EXPECT_EQ(ledger_.idempotency_id, "key");
  EXPECT_EQ(ledger_.log, "take;") << "no cap has refused it";
  EXPECT_EQ(state_.metrics.text({}).find("idempotency_in_progress"), std::string::npos);
}

TEST_F(MeteredAnswers, WaitForALeaseThatIsPending) {
  ledger_.is_pending = true;
  upstream_.script = {{kHead + frame("a", 3, 1, "stop")}};
  ask();
  when_settled([this] {
    EXPECT_EQ(upstream_.connections(), 0U);
    EXPECT_EQ(answer_->target(), nullptr);
    EXPECT_EQ(answer_->answer().request_id, "");
    EXPECT_FALSE(answer_->has_lost_session());
    EXPECT_FALSE(answer_->pause());
    answer_->resume();
    ledger_.grant();
  });
  when_ended();
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;finished:stop;");
  EXPECT_EQ(account(), "take;3+1;finish;free;");
}

TEST_F(MeteredAnswers, MayBeRefusedWhileTheLeaseIsPending) {
  ledger_.is_pending = true;
  ask();
  ledger_.refuse({Refusal::Cause::kVisitorUsedUp, std::chrono::seconds(5)});
  EXPECT_EQ(visitor_.log, "refused:429 visitor_budget_used_up;");
  EXPECT_EQ(visitor_.retry_after, std::chrono::seconds(5));
  EXPECT_TRUE(visitor_.forbids_retry);
  EXPECT_EQ(account(), "take;refused;free;");
  EXPECT_EQ(upstream_.connections(), 0U);
}

TEST_F(MeteredAnswers, EndWhenTheLedgerDoesNotAnswerWithinTheirTime) {
  ledger_.is_pending = true;
  config_.timeout = kSoon;
  EXPECT_EQ(outcome(), "refused:503 budget_unknown;");
  EXPECT_EQ(ledger_.open_leases, 0) << "a lease that nobody waits for is given back";
  EXPECT_EQ(account(), "take;free;refused;");
}

TEST_F(MeteredAnswers, HaveWaitedForTheirLeaseWithinTheirTime) {
  ledger_.is_pending = true;
  config_.connect_timeout = config_.first_token_timeout = config_.idle_timeout = 2 * kNever;
  const auto start = Clock::now();
  ask();
  when([start] { return Clock::now() > start + 4 * LoopTimers::kTick; }, [this] { ledger_.grant(); });
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] {
    EXPECT_TRUE(timers_.has_between(to_duration(kNever / 2), to_duration(kNever) - 3 * LoopTimers::kTick));
  });
  play();
}

TEST_F(MeteredAnswers, TakeNoLeaseThatComesTooLate) {
  ledger_.is_pending = true;
  ask();
  answer_->cancel();
  ledger_.grant();
  ledger_.refuse({Refusal::Cause::kUsedUp});
  when_settled();
  play();
  EXPECT_EQ(visitor_.log, "");
  EXPECT_EQ(upstream_.connections(), 0U);
  EXPECT_EQ(account(), "take;free;");
}

// --- every frame is settled ---

TEST_F(MeteredAnswers, SettleFramesThatShowNothingToo) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("", 7, 100, "null", "hm")); });
  when_log("7+100;", [this] { upstream_.send(frame("", 7, 250)); });
  when_log("7+250;", [this] { upstream_.send(frame("a", 7, 251)); });
  when_log("7+251;", [this] { upstream_.send(frame("", 7, 252, "stop")); });
  when_ended();
  play();
  EXPECT_EQ(visitor_.log, "request:1;thought:hm;text:a;finished:stop;");
  EXPECT_EQ(account(), "take;7+100;7+250;7+251;7+252;finish;free;");
}

TEST_F(MeteredAnswers, EstimateFramesWithoutUsage) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("", 0, 0)); });
  when_log("~0;", [this] { upstream_.send(frame("", 0, 0, "null", "hmm")); });
  when_log("~3;", [this] { upstream_.send(frame("abc", 0, 0)); });
  when_log("~6;", [this] { upstream_.send(frame("", 40, 9, "stop")); });
  when_ended();
  play();
  EXPECT_EQ(account(), "take;~0;~3;~6;40+9;finish;free;");
  EXPECT_EQ(ledger_.used, 49U) << "the last frame corrects the estimate";
}

TEST_F(MeteredAnswers, AskForAStreamAlsoWhenTheVisitorWantsAWholeAnswer) {
  upstream_.script = {{kHead + frame("a", 3, 1) + frame("b", 3, 2, "stop")}};
  EXPECT_EQ(outcome(AnswerMode::kJson), "request:1;text:a;text:b;finished:stop;");
  EXPECT_NE(upstream_.last_request().find("X-DashScope-SSE: enable"), std::string::npos);
}

TEST_F(MeteredAnswers, GiveAWholeAnswerTimeForItsFirstToken) {
  config_.first_token_timeout = kSoon;
  upstream_.script = {{kHead}};
  ask(AnswerMode::kJson);
  const auto start = Clock::now();
  when([start] { return Clock::now() > start + 3 * to_duration(kSoon); },
       [this] {
         EXPECT_EQ(visitor_.log, "request:1;");
         ask(AnswerMode::kStream);
       });
  when_ended();
  play();
  EXPECT_TRUE(visitor_.log.ends_with("failed:first_token_timeout;")) << visitor_.log;
}

// --- the lease is used up ---

TEST_F(MeteredAnswers, EndBeforeTheFirstTextWhenThoughtsUseUpTheLease) {
  ledger_.lease_tokens = 50;
  ask();
  when_asked([this] { upstream_.send(kHead + frame("", 7, 44, "null", "hm")); });
  when_ended([this] {
    EXPECT_EQ(ledger_.log, "take;7+44;free;") << "what was produced counts, and the rest is for others";
  });
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;thought:hm;refused:429 budget_used_up;");
  EXPECT_EQ(visitor_.retry_after, std::chrono::seconds(60));
  EXPECT_EQ(account(), "take;7+44;free;");
}

TEST_F(MeteredAnswers, EndInTheTextAndLeaveTheUpstreamAtOnce) {
  ledger_.lease_tokens = 10;
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 7)); });
  when_log("3+7;", [this] { upstream_.send(frame("b", 3, 8)); });
  when_ended();
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;text:b;refused:429 budget_used_up;");
  EXPECT_EQ(account(), "take;3+7;3+8;free;");
  EXPECT_EQ(ledger_.used, 11U);
}

TEST_F(MeteredAnswers, TakeTheFrameThatFinishesWhateverItHasCost) {
  ledger_.lease_tokens = 10;
  upstream_.script = {{kHead + frame("a", 3, 7) + frame("b", 3, 8) + frame("c", 3, 900, "stop")}};
  EXPECT_EQ(outcome(), "request:1;text:a;text:b;text:c;finished:stop;");
  EXPECT_EQ(account(), "take;3+900;finish;free;");
}

TEST_F(MeteredAnswers, EndWhenTheOwnerPausesAtOnce) {
  ledger_.lease_tokens = 3;
  ledger_.when_used_up = {Refusal::Cause::kPaused, {}, "later"};
  upstream_.script = {{kHead + frame("a", 3, 1)}};
  EXPECT_EQ(outcome(), "request:1;text:a;refused:503 paused;");
}

TEST_F(MeteredAnswers, EndByTheBudgetWhileTheyArePaused) {
  ledger_.lease_tokens = 4;
  ask();
  visitor_.after_text = [this] { answer_->pause(); };
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] { upstream_.send(frame("b", 3, 2)); });
  when_settled([this] {
    EXPECT_EQ(visitor_.log, "request:1;text:a;") << "it is not read";
    answer_->resume();
  });
  when_ended();
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;text:b;refused:429 budget_used_up;");
  EXPECT_EQ(account(), "take;3+1;3+2;free;");
}

TEST_F(MeteredAnswers, EndInASilenceWhenTheOwnerPausesAtOnceAndLeaveTheUpstream) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] { pause_at_once(); });
  when_ended([this] { EXPECT_EQ(ledger_.log, "take;3+1;free;") << "what was produced counts"; });
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;refused:503 paused;");
  EXPECT_TRUE(visitor_.forbids_retry);
  EXPECT_EQ(account(), "take;3+1;free;");
}

TEST_F(MeteredAnswers, EndInASilenceBeforeTheFirstFrame) {
  ask();
  when_asked([this] { pause_at_once(); });
  when_ended();
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;refused:503 paused;");
  EXPECT_EQ(account(), "take;free;");
}

TEST_F(MeteredAnswers, EndWhenTheOwnerPausesAtOnceWhileASlowVisitorHoldsThemUp) {
  visitor_.after_text = [this] { answer_->pause(); };
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] {
    upstream_.send(frame("b", 3, 2));
    pause_at_once();
  });
  when_ended();
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;refused:503 paused;");
}

TEST_F(MeteredAnswers, EndBetweenTwoAttemptsWhenTheOwnerPausesAtOnce) {
  config_.upstream_retries = 1;
  upstream_.script = {{kThrottled}};
  ask();
  when_log("next;", [this] { pause_at_once(); });
  when_ended();
  play();
  EXPECT_EQ(visitor_.log, "request:1;retry:Throttling;refused:503 paused;");
  EXPECT_EQ(account(), "take;next;free;");
}

TEST_F(MeteredAnswers, GoOnWhenTheOwnerPausesOthersAtOnce) {
  ask();
  when_asked([this] {
    upstream_.send(kHead + frame("a", 3, 1));
    pause_at_once();
    ledger_.is_paused = false;
  });
  when_log("3+1;", [this] { upstream_.send(frame("b", 3, 2, "stop")); });
  when_ended();
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;text:b;finished:stop;");
}

TEST_F(MeteredAnswers, AreDecidedByTheLedgerWhileTheLeaseIsPending) {
  ledger_.is_pending = true;
  ask();
  pause_at_once();
  when_settled([this] { ledger_.refuse({Refusal::Cause::kPaused}); });
  play();
  EXPECT_EQ(visitor_.log, "refused:503 paused;");
  EXPECT_EQ(account(), "take;refused;free;");
}

TEST_F(MeteredAnswers, AreNotEndedTwiceByAPauseAtOnce) {
  upstream_.script = {{kHead + frame("a", 3, 1, "stop")}};
  ask();
  when_ended([this] { pause_at_once(); });
  when_settled();
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;finished:stop;");
}

// --- the visitor leaves ---

TEST_F(MeteredAnswers, CostNothingWhenTheVisitorLeavesBeforeTheLease) {
  ledger_.is_pending = true;
  ask();
  EXPECT_EQ(account(), "take;free;");
}

TEST_F(MeteredAnswers, AreNotAbandonedBeforeTheyWereSent) {
  ask();
  EXPECT_EQ(account(), "take;free;");
}

TEST_F(MeteredAnswers, AreAbandonedBeforeTheFirstFrame) {
  ask();
  when_asked([this] { answer_.reset(); });
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(account(), "take;abandon;free;");
  EXPECT_EQ(ledger_.used, 0U);
}

TEST_F(MeteredAnswers, AreAbandonedInTheThoughtsWithWhatWasSeen) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("", 7, 90, "null", "hm")); });
  when_log("7+90;", [this] { answer_.reset(); });
  play();
  EXPECT_EQ(account(), "take;7+90;7+90;abandon;free;");
  EXPECT_EQ(ledger_.used, 97U);
}

TEST_F(MeteredAnswers, AreAbandonedInTheTextWithWhatWasSeen) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 7, 1)); });
  when_log("7+1;", [this] { answer_.reset(); });
  play();
  EXPECT_EQ(account(), "take;7+1;7+1;abandon;free;");
  EXPECT_EQ(ledger_.used, 8U);
}

TEST_F(MeteredAnswers, ThatAreCompleteAreNotAbandoned) {
  upstream_.script = {{kHead + frame("a", 3, 1, "stop")}};
  EXPECT_EQ(outcome(), "request:1;text:a;finished:stop;");
  EXPECT_EQ(ledger_.open_leases, 0) << "however slowly the visitor reads";
  EXPECT_EQ(account(), "take;3+1;finish;free;");
}

TEST_F(MeteredAnswers, ThatTheProgramEndsAreNotAbandoned) {
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] {
    answer_->cancel();
    upstream_.send(frame("b", 3, 2));
  });
  when_settled();
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;");
  EXPECT_EQ(account(), "take;3+1;3+1;free;");
}

// --- the upstream fails ---

class FailedAnswers : public MeteredAnswers, public testing::WithParamInterface<std::string> {};

TEST_P(FailedAnswers, CostNothingWhenNothingCameBack) {
  config_.upstream_retries = 0;
  upstream_.script = {{GetParam(), true}};
  EXPECT_NE(outcome().find("failed:"), std::string::npos);
  EXPECT_EQ(account(), "take;free;");
  EXPECT_EQ(ledger_.used, 0U);
}

INSTANTIATE_TEST_SUITE_P(MeteredAnswers, FailedAnswers,
                         testing::Values(json(401, R"({"code":"InvalidApiKey","message":""})"),
                                         json(400, R"({"code":"InvalidParameter","message":""})"),
                                         json(500, R"({"code":"InternalError","message":""})"), kThrottled,
                                         kHead + error_frame(400, "DataInspectionFailed"), kHead, ""));

TEST_F(MeteredAnswers, CostWhatAnErrorSays) {
  upstream_.script = {{json(429, R"({"code":"Throttling","message":"","usage":{"models":[)"
                                 R"({"input_tokens":7,"output_tokens":90,"model_id":"m"}]}})")}};
  EXPECT_EQ(outcome(), "request:1;failed:Throttling;");
  EXPECT_EQ(ledger_.used, 97U);
  EXPECT_EQ(ledger_.open_leases, 0);
}

TEST_F(MeteredAnswers, CostWhatWasSeenBeforeTheyBroke) {
  upstream_.script = {{kHead + frame("a", 3, 1) + frame("b", 3, 2), true}};
  EXPECT_EQ(outcome(), "request:1;text:a;text:b;failed:truncated_answer;");
  EXPECT_EQ(ledger_.used, 5U);
}

TEST_F(MeteredAnswers, CostWhatWasSeenBeforeAnError) {
  upstream_.script = {{kHead + frame("a", 3, 1) + error_frame(500, "InternalError")}};
  EXPECT_EQ(outcome(), "request:1;text:a;failed:InternalError;");
  EXPECT_EQ(ledger_.used, 4U);
}

TEST_F(MeteredAnswers, CostWhatWasSeenBeforeATimeout) {
  config_.idle_timeout = kSoon;
  upstream_.script = {{kHead + frame("a", 3, 1)}};
  EXPECT_EQ(outcome(), "request:1;text:a;failed:idle_timeout;");
  EXPECT_EQ(account(), "take;3+1;3+1;free;");
}

TEST_F(MeteredAnswers, CostTheirEstimateAfterATimeout) {
  config_.idle_timeout = kSoon;
  upstream_.script = {{kHead + frame("abc", 0, 0)}};
  EXPECT_EQ(outcome(), "request:1;text:abc;failed:idle_timeout;");
  EXPECT_EQ(account(), "take;~3;~3;free;");
}

TEST_F(MeteredAnswers, StartFromZeroWithEachAttempt) {
  config_.upstream_retries = 1;
  upstream_.script = {{kThrottled}, {kHead + frame("a", 3, 1, "stop")}};
  EXPECT_EQ(outcome(), "request:1;retry:Throttling;request:1;text:a;finished:stop;");
  EXPECT_EQ(account(), "take;next;3+1;finish;free;");
}

TEST_F(MeteredAnswers, StartFromZeroAtAnotherTarget) {
  config_.targets.push_back(config_.targets.front());
  config_.targets.back().number = 2;
  config_.targets.back().app_id = "other";
  upstream_.script = {{json(500, R"({"code":"InternalError","message":""})")},
                      {kHead + frame("a", 3, 1, "stop")}};
  EXPECT_EQ(outcome(), "request:1;failover:InternalError;request:2;text:a;finished:stop;");
  EXPECT_EQ(account(), "take;next;3+1;finish;free;");
}

TEST_F(MeteredAnswers, AreLeftBetweenTwoAttempts) {
  config_.upstream_retries = 1;
  upstream_.script = {{kThrottled}};
  ask();
  when_log("next;");
  play();
  EXPECT_EQ(account(), "take;next;abandon;free;");
  EXPECT_EQ(ledger_.used, 0U);
}

// --- memory ---

TEST_F(MeteredAnswers, CountWhatHadArrivedWhenTheChatFails) {
  visitor_.after_text = [] { throw std::bad_alloc(); };
  upstream_.script = {{kHead + frame("a", 3, 1)}};
  EXPECT_EQ(outcome(), "request:1;text:a;exception:std::bad_alloc;");
  EXPECT_EQ(account(), "take;3+1;free;");
  EXPECT_EQ(ledger_.used, 4U);
}

TEST_F(MeteredAnswers, CountWhatHadArrivedWhenTheRefusalFails) {
  ledger_.lease_tokens = 1;
  visitor_.after_refusal = [] { throw std::bad_alloc(); };
  upstream_.script = {{kHead + frame("a", 3, 1)}};
  ask();
  when([this] { return visitor_.log.ends_with("bad_alloc;"); });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;refused:429 budget_used_up;exception:std::bad_alloc;");
  EXPECT_EQ(account(), "take;3+1;free;");
}

TEST_F(MeteredAnswers, CountWhatHadArrivedWhenThePauseFails) {
  visitor_.after_refusal = [] { throw std::bad_alloc(); };
  ask();
  when_asked([this] { upstream_.send(kHead + frame("a", 3, 1)); });
  when_log("3+1;", [this] { pause_at_once(); });
  when([this] { return visitor_.log.ends_with("bad_alloc;"); });
  play();
  EXPECT_EQ(visitor_.log, "request:1;text:a;refused:503 paused;exception:std::bad_alloc;");
  EXPECT_EQ(account(), "take;3+1;free;");
}

TEST_F(MeteredAnswers, ReportARefusalThatFailsWhileTheLeaseIsPending) {
  ledger_.is_pending = true;
  visitor_.after_refusal = [] { throw std::bad_alloc(); };
  ask();
  ledger_.refuse({Refusal::Cause::kUsedUp});
  EXPECT_EQ(visitor_.log, "refused:429 budget_used_up;exception:std::bad_alloc;");
  EXPECT_EQ(account(), "take;refused;free;");
}

}  // namespace
}  // namespace bailian
