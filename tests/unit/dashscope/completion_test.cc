#include "dashscope/completion.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "dashscope/targets.h"
#include "harness/sanitized.h"
#include "unit/heap.h"
#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

constexpr Seconds kNever{60};
constexpr Seconds kSoon{0.05};

std::string event(const std::string& text, const std::string& finish = "null") {
  return R"(data:{"output":{"session_id":"s","finish_reason":")" + finish + R"(","text":")" + text +
         "\"}}\n\n";
}

// The body ends with the connection, so a test can send it piece by piece.
const std::string kStreamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n\r\n";

std::string whole(int status, const std::string& type, const std::string& body,
                  const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body;
}
std::string json(int status, const std::string& body, const std::string& headers = "") {
  return whole(status, "application/json", body, headers);
}
std::string events(const std::string& body) { return whole(200, "text/event-stream", body); }

const std::string kThrottled = R"({"code":"Throttling","message":"slow down"})";
const std::string kThrottledEvent = "event:error\n:HTTP_STATUS/429\ndata:" + kThrottled + "\n\n";
const std::string kAnswer = events(event("a") + event("b", "stop"));
const std::string kJsonAnswer = json(200, R"({"output":{"text":"ab","finish_reason":"stop"}})");

// Records the calls of a completion, and stops the loop at the last.
class Visitor : public AnswerHandler {
 public:
  explicit Visitor(EventLoop& loop) : loop_(loop) {}

  std::string log;
  std::function<void()> after_first_text;
  std::function<void()> after_retry;
  std::function<void()> on_arrival;
  std::function<void()> after_end = [this] { loop_.stop(); };

  void on_text(std::string_view text) override {
    log.append("text:").append(text).append(";");
    if (after_first_text) std::exchange(after_first_text, {})();
  }
  void on_request(const Target&) noexcept override { log += "request;"; }
  void on_bytes(Clock::time_point) override {
    if (on_arrival) on_arrival();
  }
  void on_finished(const Answer& answer) override { end("finished:" + answer.finish_reason); }
  void on_retry(const UpstreamError& error) override {
    log += "retry:" + error.code + ";";
    if (after_retry) after_retry();
  }
  void on_failed(const UpstreamError& error) override { end("failed:" + error.code); }
  void on_exception(const std::exception& error) noexcept override {
    log.append("exception:").append(error.what()).append(";");
    loop_.stop();
  }

 private:
  void end(const std::string& how) {
    log += how + ";";
    after_end();
  }

  EventLoop& loop_;
};

class Completions : public testing::Test {
 protected:
  Completions() {
    config_.targets[0].api_key = "sk-0123456789abcdef";
    config_.targets[0].app_id = "app";
    config_.parameters_json = "{}";
    config_.connect_timeout = config_.first_token_timeout = config_.idle_timeout = config_.timeout = kNever;
    config_.targets[0].base_url = upstream_.base_url();
    hung_.start(std::chrono::seconds(20));
  }

  void ask(AnswerMode mode = AnswerMode::kStream) {
    if (!targets_) targets_.emplace(loop_, config_, healths_, received_);
    Question question;
    question.prompt = prompt_;
    question.mode = mode;
    completion_ = targets_->ask(question, mode, visitor_);
  }

  // Returns all calls of a completion.
  std::string outcome(AnswerMode mode = AnswerMode::kStream) {
    ask(mode);
    loop_.run();
    return visitor_.log;
  }

  // Calls `then` after enough iterations that all bytes sent before have arrived.
  void after_a_while(std::function<void()> then, int iterations = 50) {
    loop_.post([this, iterations, then = std::move(then)] {
      if (iterations == 0) return then();
      after_a_while(then, iterations - 1);
    });
  }

  // Calls `then` later than any clock's tick, with a moment before the iteration.
  void later(std::function<void(Clock::time_point)> then) { later_than(Clock::now(), std::move(then)); }
  void later_than(Clock::time_point start, std::function<void(Clock::time_point)> then) {
    loop_.post([this, start, then = std::move(then)] {
      const auto now = Clock::now();
      if (now <= start + 3 * LoopTimers::kTick) return later_than(start, then);
      loop_.post([then, now] { then(now); });
    });
  }

  // Whether the completion waits for so long.
  [[nodiscard]] bool has_limit(Seconds time) const { return timers_.has(to_duration(time), start_); }
  // Ends that limit, or the test if there is none.
  void end_limit(Seconds time) {
    const bool is_there = timers_.end(to_duration(time), start_);
    EXPECT_TRUE(is_there) << time.count() << " s";
    if (!is_there) loop_.stop();
  }

  // Cancels the completion in the next iteration. That must end its connection, and nothing may follow.
  void cancel() {
    loop_.post([this] {
      destroy();
      after_a_while([this] { EXPECT_TRUE(has_disconnected_) << "not at once"; });
    });
  }
  void destroy() { completion_.reset(); }
  std::string log_of_cancelled() {
    upstream_.on_disconnected = [this] {
      has_disconnected_ = true;
      after_a_while([this] { loop_.stop(); });
    };
    loop_.run();
    return visitor_.log;
  }

  // Sends without an end.
  void flood() {
    loop_.post([this] {
      if (upstream_.send(":" + std::string(8000, 'x') + "\n")) flood();
    });
  }

  void on_hung() {
    ADD_FAILURE() << "waits for what does not happen; so far: " << visitor_.log;
    loop_.stop();
  }

  const Clock::time_point start_ = Clock::now();
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopTimers timers_{loop_};
  Timer hung_{loop_, bind<&Completions::on_hung>(this)};
  EndOfIteration destroy_{loop_, bind<&Completions::destroy>(this)};
  Tally received_;
  Config config_;
  std::string prompt_ = "q";
  LoopUpstream upstream_{loop_};
  Visitor visitor_{loop_};
  bool has_disconnected_ = false;
  TargetHealths healths_;
  std::optional<Targets> targets_;
  std::unique_ptr<Completion> completion_;
};

TEST_F(Completions, DeliverAnAnswerPieceByPiece) {
  upstream_.script = {{kAnswer}};
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
  EXPECT_EQ(completion_->answer().session_id, "s");
  EXPECT_EQ(completion_->retries(), 0);
  EXPECT_GT(received_.sum(), 0U);
}

TEST_F(Completions, DeliverAJsonAnswer) {
  upstream_.script = {{kJsonAnswer}};
  EXPECT_EQ(outcome(AnswerMode::kJson), "request;text:ab;finished:stop;");
}

TEST_F(Completions, DeliverAnAnswerThatTheEndOfTheResponseCompletes) {
  std::string unfinished = event("b", "stop");
  unfinished.pop_back();
  upstream_.script = {{events(event("a") + unfinished)}};
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

TEST_F(Completions, FinishBeforeTheResponseEnds) {
  upstream_.script = {{kStreamHead + event("a", "stop")}};
  EXPECT_EQ(outcome(), "request;text:a;finished:stop;");
}

TEST_F(Completions, LeaveTheConnectionToTheNext) {
  upstream_.script = {{kAnswer}, {kAnswer}};
  visitor_.after_end = [this] {
    visitor_.after_end = [this] { loop_.stop(); };
    after_a_while([this] { ask(); });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;request;text:a;text:b;finished:stop;");
  EXPECT_EQ(upstream_.connections(), 1U);
}

// Completes only when the upstream reports the end.
std::string chunked(const std::string& body) {
  return fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: "
      "chunked\r\n\r\n{:x}\r\n{}\r\n",
      body.size(), body);
}

TEST_F(Completions, DestroyedAtTheirEndStillLeaveTheConnectionToTheNext) {
  upstream_.script = {{chunked(event("a") + event("b", "stop"))}, {kAnswer}};
  // Runs before the tasks that the completion itself defers to the end of this iteration.
  visitor_.after_first_text = [this] { destroy_.schedule(); };
  visitor_.after_end = [this] {
    visitor_.after_end = [this] { loop_.stop(); };
    after_a_while([this] {
      EXPECT_TRUE(upstream_.send("0\r\n\r\n"));
      after_a_while([this] { ask(); });
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;request;text:a;text:b;finished:stop;");
  EXPECT_EQ(upstream_.connections(), 1U);
}

TEST_F(Completions, CutAResponseThatDoesNotEndWithItsAnswer) {
  upstream_.script = {{kStreamHead + event("a", "stop")}};
  visitor_.after_end = [this] { flood(); };
  ask();
  EXPECT_EQ(log_of_cancelled(), "request;text:a;finished:stop;");
}

// --- timers ---

// Listens, but its queue of connections is full.
class UnreachableUpstream {
 public:
  UnreachableUpstream() {
    const sockaddr_in address = address_of(listener_);
    for (UniqueFd& fd : queued_) {
      fd = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      std::ignore = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
  }
  [[nodiscard]] std::string base_url() const { return base_url_of(listener_); }

 private:
  UniqueFd listener_ = listen_on_loopback(0);
  std::array<UniqueFd, 8> queued_;
};

TEST_F(Completions, ConnectTimeoutsAreRetried) {
  const UnreachableUpstream upstream;
  config_.targets[0].base_url = upstream.base_url();
  config_.connect_timeout = kSoon;
  config_.upstream_retries = 1;
  EXPECT_EQ(outcome(), "retry:connect_timeout;failed:connect_timeout;");
  EXPECT_EQ(completion_->retries(), 1);
}

TEST_F(Completions, FailWithoutAFirstToken) {
  config_.first_token_timeout = kSoon;
  config_.upstream_retries = 2;
  EXPECT_EQ(outcome(), "request;failed:first_token_timeout;");
}

TEST_F(Completions, CommentsAreNoFirstToken) {
  upstream_.script = {{kStreamHead + ":keepalive\n\n"}};
  config_.first_token_timeout = kSoon;
  EXPECT_EQ(outcome(), "request;failed:first_token_timeout;");
}

TEST_F(Completions, AnAnswerThatHasStartedMayTakeLongerThanItsFirstToken) {
  upstream_.script = {{kStreamHead + event("a")}};
  config_.first_token_timeout = kSoon / 2;
  config_.idle_timeout = kSoon;
  EXPECT_EQ(outcome(), "request;text:a;failed:idle_timeout;");
}

TEST_F(Completions, AJsonAnswerHasNoFirstToken) {
  config_.first_token_timeout = kSoon / 2;
  config_.timeout = kSoon;
  EXPECT_EQ(outcome(AnswerMode::kJson), "request;failed:timeout;");
}

TEST_F(Completions, AJsonAnswerThatStallsIsIdle) {
  upstream_.script = {{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"}};
  config_.idle_timeout = kSoon;
  EXPECT_EQ(outcome(AnswerMode::kJson), "request;failed:idle_timeout;");
}

TEST_F(Completions, WholeTimeoutBeforeTheAnswer) {
  config_.timeout = kSoon;
  EXPECT_EQ(outcome(), "request;failed:timeout;");
}

TEST_F(Completions, WholeTimeoutDuringTheAnswer) {
  upstream_.script = {{kStreamHead + event("a")}};
  config_.timeout = kSoon;
  EXPECT_EQ(outcome(), "request;text:a;failed:timeout;");
}

TEST_F(Completions, OnlyTheWholeTimeoutCountsWhilePaused) {
  upstream_.script = {{kStreamHead + event("a")}};
  config_.idle_timeout = kSoon / 2;
  config_.timeout = 2 * kSoon;
  visitor_.after_first_text = [this] { EXPECT_TRUE(completion_->pause()); };
  EXPECT_EQ(outcome(), "request;text:a;failed:timeout;");
}

TEST_F(Completions, WholeTimeoutWhileBackingOff) {
  upstream_.script = {{json(429, kThrottled, "Retry-After: 5\r\n")}};
  config_.upstream_retries = 1;
  config_.timeout = kSoon;
  EXPECT_EQ(outcome(), "request;retry:Throttling;failed:timeout;");
  EXPECT_EQ(upstream_.requests(), 1U);
}

TEST_F(Completions, TheIdleTimeStartsAgainWhenResumed) {
  upstream_.script = {{kStreamHead + event("a")}};
  config_.idle_timeout = kSoon;
  visitor_.after_first_text = [this] {
    completion_->pause();
    after_a_while([this] { completion_->resume(); });
  };
  EXPECT_EQ(outcome(), "request;text:a;failed:idle_timeout;");
}

// --- time limits, ended by the test ---

constexpr Seconds kFirstToken{500};
constexpr Seconds kIdle{700};
constexpr Seconds kWhole{1300};

class CompletionLimits : public Completions {
 protected:
  CompletionLimits() {
    config_.first_token_timeout = kFirstToken;
    config_.idle_timeout = kIdle;
    config_.timeout = kWhole;
    config_.upstream_retries = 1;
  }
};

TEST_F(CompletionLimits, ForTheFirstTokenAndThenForSilence) {
  upstream_.on_request = [this] {
    EXPECT_TRUE(has_limit(kFirstToken));
    upstream_.send(kStreamHead + event("a"));
  };
  visitor_.after_first_text = [this] {
    after_a_while([this] {
      EXPECT_TRUE(has_limit(kIdle));
      EXPECT_FALSE(has_limit(kFirstToken));
      upstream_.send(event("b", "stop"));
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

TEST_F(CompletionLimits, ForSilenceBeginAgainWithEachByte) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] {
    later([this](Clock::time_point now) {
      upstream_.send(":");
      after_a_while([this, now] {
        end_limit(kIdle);
        after_a_while([this, now] {
          EXPECT_TRUE(timers_.has(to_duration(kIdle), now));
          upstream_.send("\n" + event("b", "stop"));
        });
      });
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

TEST_F(CompletionLimits, ForAWholeAnswerIsTheTimeoutAlone) {
  upstream_.on_request = [this] {
    EXPECT_TRUE(has_limit(kWhole));
    EXPECT_FALSE(has_limit(kFirstToken));
    upstream_.send(kJsonAnswer);
  };
  EXPECT_EQ(outcome(AnswerMode::kJson), "request;text:ab;finished:stop;");
}

TEST_F(CompletionLimits, WhilePausedIsTheTimeoutAlone) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] {
    EXPECT_TRUE(completion_->pause());
    after_a_while([this] {
      end_limit(kIdle);
      later([this](Clock::time_point now) {
        EXPECT_TRUE(has_limit(kWhole));
        EXPECT_FALSE(has_limit(kIdle));
        completion_->resume();
        EXPECT_TRUE(timers_.has(to_duration(kIdle), now)) << "the pause is no silence";
        upstream_.send(event("b", "stop"));
      });
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

TEST_F(CompletionLimits, ForTheWholeCountAllAttempts) {
  config_.first_token_timeout = 2 * kWhole;
  upstream_.script = {{json(429, kThrottled, "Retry-After: 9\r\n")}};
  visitor_.after_retry = [this] {
    later([this](Clock::time_point now) {
      end_limit(Seconds(9));
      upstream_.on_request = [this, now] {
        EXPECT_TRUE(timers_.has(to_duration(kWhole), start_, now - 2 * LoopTimers::kTick));
        upstream_.send(kAnswer);
      };
    });
  };
  EXPECT_EQ(outcome(), "request;retry:Throttling;request;text:a;text:b;finished:stop;");
}

TEST_F(CompletionLimits, ForTheWholeEndTheWaitForARetry) {
  config_.timeout = Seconds(4);
  upstream_.script = {{json(429, kThrottled, "Retry-After: 9\r\n")}};
  visitor_.after_retry = [this] {
    loop_.post([this] {
      EXPECT_TRUE(has_limit(config_.timeout));
      loop_.stop();
    });
  };
  EXPECT_EQ(outcome(), "request;retry:Throttling;");
}

// libevent counts a time limit from the start of the iteration, so after a slow callback it ends early.
TEST_F(CompletionLimits, ForTheWholeLeaveNoTimeForAnAttemptThatIsNotDue) {
  config_.timeout = Seconds(0.2);
  upstream_.script = {{json(429, kThrottled, "Retry-After: 9\r\n")}, {kAnswer}};
  visitor_.on_arrival = [] {
    for (const auto start = Clock::now(); Clock::now() - start < std::chrono::milliseconds(50);) {
    }
  };
  EXPECT_EQ(outcome(), "request;retry:Throttling;failed:timeout;");
}

TEST_F(CompletionLimits, OfTheUpstreamAreWaitedForUpToTenSeconds) {
  upstream_.script = {{json(429, kThrottled, "Retry-After: 10\r\n")}, {kAnswer}};
  visitor_.after_retry = [this] { loop_.post([this] { end_limit(Seconds(10)); }); };
  EXPECT_EQ(outcome(), "request;retry:Throttling;request;text:a;text:b;finished:stop;");
}

TEST_F(CompletionLimits, BetweenAttemptsAreAQuarterOfASecondAndThenTwiceAsLongEachTime) {
  constexpr int kAttempts = 6;
  config_.timeout = Seconds(kNever);
  config_.upstream_retries = kAttempts;
  // The last names a time that is shorter than the usual one.
  upstream_.script.assign(kAttempts - 1, {json(429, kThrottled)});
  upstream_.script.push_back({json(429, kThrottled, "Retry-After: 1\r\n")});
  upstream_.script.push_back({kAnswer});
  Clock::time_point asked;
  upstream_.on_request = [&asked] { asked = Clock::now(); };
  visitor_.after_retry = [&, usual = Seconds(0.25)]() mutable {
    const auto least = to_duration(usual / 2) - (Clock::now() - asked);
    const auto most = to_duration(usual * 1.5);
    EXPECT_TRUE(timers_.end_between(least, most)) << usual.count() << " s";
    usual *= 2;
  };
  outcome();
  EXPECT_EQ(completion_->retries(), kAttempts);
  EXPECT_TRUE(visitor_.log.ends_with("request;text:a;text:b;finished:stop;")) << visitor_.log;
}

// --- memory ---

TEST_F(Completions, KeepNoQuestionOnceItsAnswerIsBilled) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = size_t{1} << 20;
  prompt_ = std::string(kBytes, 'q');
  size_t asked = 0;
  upstream_.on_request = [this, &asked] {
    asked = allocated_bytes();
    upstream_.send(kStreamHead + event("a"));
  };
  visitor_.after_first_text = [this, &asked] {
    after_a_while([this, &asked] {
      EXPECT_LT(allocated_bytes(), asked - kBytes / 2);
      upstream_.send(event("b", "stop"));
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

// --- pause and resume ---

TEST_F(Completions, ArePausedOnlyWhileTheyAnswer) {
  upstream_.script = {{json(429, kThrottled)}, {kAnswer}};
  config_.upstream_retries = 1;
  upstream_.on_request = [this] {
    EXPECT_FALSE(completion_->pause()) << "nothing of the answer has arrived";
    completion_->resume();
  };
  visitor_.after_retry = [this] {
    EXPECT_FALSE(completion_->pause()) << "no attempt is under way";
    completion_->resume();
  };
  visitor_.after_end = [this] {
    EXPECT_FALSE(completion_->pause()) << "the answer has ended";
    completion_->resume();
    loop_.stop();
  };
  EXPECT_EQ(outcome(), "request;retry:Throttling;request;text:a;text:b;finished:stop;");
}

TEST_F(Completions, DeliverNothingWhilePaused) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] {
    EXPECT_TRUE(completion_->pause());
    EXPECT_FALSE(completion_->pause()) << "it is paused already";
    upstream_.send(event("b", "stop"));
    after_a_while([this] {
      visitor_.log += "resume;";
      completion_->resume();
    });
  };
  EXPECT_EQ(outcome(), "request;text:a;resume;text:b;finished:stop;");
}

TEST_F(Completions, DeliverWhatCameWithThePieceAtWhichTheyWerePaused) {
  upstream_.script = {{kAnswer}};
  visitor_.after_first_text = [this] { EXPECT_TRUE(completion_->pause()); };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;");
}

// --- cancel ---

TEST_F(Completions, CancelledBeforeTheRequestAskForNothing) {
  ask();
  completion_.reset();
  after_a_while([this] { loop_.stop(); });
  loop_.run();
  EXPECT_EQ(visitor_.log, "");
  EXPECT_EQ(upstream_.requests(), 0U);
}

TEST_F(Completions, CancelledBeforeTheAnswerEndTheirConnection) {
  upstream_.on_request = [this] { cancel(); };
  ask();
  EXPECT_EQ(log_of_cancelled(), "request;");
}

TEST_F(Completions, CancelledDuringTheAnswerEndTheirConnection) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] { cancel(); };
  ask();
  EXPECT_EQ(log_of_cancelled(), "request;text:a;");
}

TEST_F(Completions, CancelledWhileTheAnswerFlowsEndTheirConnection) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] {
    flood();
    after_a_while([this] { cancel(); });
  };
  ask();
  EXPECT_EQ(log_of_cancelled(), "request;text:a;");
}

TEST_F(Completions, CancelledWhilePausedEndTheirConnection) {
  upstream_.script = {{kStreamHead + event("a")}};
  visitor_.after_first_text = [this] {
    completion_->pause();
    cancel();
  };
  ask();
  EXPECT_EQ(log_of_cancelled(), "request;text:a;");
}

TEST_F(Completions, CancelledWhileBackingOffAskNoMore) {
  upstream_.script = {{json(429, kThrottled)}, {kAnswer}};
  config_.upstream_retries = 1;
  visitor_.after_retry = [this] {
    loop_.post([this] {
      completion_.reset();
      ask();  // the next visitor's
    });
  };
  EXPECT_EQ(outcome(), "request;retry:Throttling;request;text:a;text:b;finished:stop;");
  EXPECT_EQ(upstream_.requests(), 2U);
}

// --- attempts ---

struct Attempts {
  const char* name;
  AnswerMode mode;
  int retries;
  std::vector<LoopUpstream::Reply> script;
  std::string log;
  size_t requests;
};

class CompletionAttempts : public Completions, public testing::WithParamInterface<Attempts> {};

TEST_P(CompletionAttempts, AreAsManyAsTheRulesAllow) {
  const Attempts& attempts = GetParam();
  config_.upstream_retries = attempts.retries;
  upstream_.script = attempts.script;
  EXPECT_EQ(outcome(attempts.mode), attempts.log);
  EXPECT_EQ(upstream_.requests(), attempts.requests);
  EXPECT_EQ(static_cast<size_t>(completion_->retries()) + 1, attempts.requests);
}

constexpr auto kStream = AnswerMode::kStream;
constexpr auto kJson = AnswerMode::kJson;
const std::string kUsage = R"("usage":{"models":[{"input_tokens":3}]})";

INSTANTIATE_TEST_SUITE_P(
    Completions, CompletionAttempts,
    testing::Values(
        Attempts{"ThrottlingIsRetried",
                 kStream,
                 2,
                 {{json(429, kThrottled)}, {events(kThrottledEvent)}, {kAnswer}},
                 "request;retry:Throttling;request;retry:Throttling;request;text:a;text:b;finished:stop;",
                 3},
        Attempts{"ThrottlingIsRetriedSoOftenOnly",
                 kStream,
                 1,
                 {{json(429, kThrottled)}, {json(429, kThrottled)}, {kAnswer}},
                 "request;retry:Throttling;request;failed:Throttling;",
                 2},
        Attempts{"ThrottlingOfAJsonAnswerIsRetried",
                 kJson,
                 1,
                 {{json(429, kThrottled)}, {kJsonAnswer}},
                 "request;retry:Throttling;request;text:ab;finished:stop;",
                 2},
        Attempts{"WithoutRetriesNothingIs",
                 kStream,
                 0,
                 {{json(429, kThrottled)}},
                 "request;failed:Throttling;",
                 1},
        Attempts{"NotAfterALongWait",
                 kStream,
                 2,
                 {{json(429, kThrottled, "Retry-After: 11\r\n")}},
                 "request;failed:Throttling;",
                 1},
        Attempts{"NotAfterText",
                 kStream,
                 2,
                 {{events(event("a") + kThrottledEvent)}},
                 "request;text:a;failed:Throttling;",
                 1},
        Attempts{"NotAfterTextOfAWholeAnswer",
                 kJson,
                 2,
                 {{events(event("a") + kThrottledEvent)}, {kJsonAnswer}},
                 "request;text:a;failed:Throttling;",
                 1},
        Attempts{"NotAfterUsage",
                 kStream,
                 2,
                 {{json(429, R"({"code":"Throttling",)" + kUsage + "}")}},
                 "request;failed:Throttling;",
                 1},
        Attempts{"NotAnotherError",
                 kStream,
                 2,
                 {{json(500, R"({"code":"InternalError"})")}},
                 "request;failed:InternalError;",
                 1},
        Attempts{"NotABadKey",
                 kStream,
                 2,
                 {{json(401, R"({"code":"InvalidApiKey"})")}},
                 "request;failed:InvalidApiKey;",
                 1},
        Attempts{"NotAThrottledStep",
                 kStream,
                 2,
                 {{json(500, R"({"code":"InternalError.Algo.Throttling"})")}},
                 "request;failed:InternalError.Algo.Throttling;",
                 1},
        Attempts{"NotAConnectionThatEndsBeforeTheAnswer",
                 kStream,
                 2,
                 {{"", true}},
                 "request;failed:connection_broken;",
                 1},
        Attempts{"NotAConnectionThatEndsInTheAnswer",
                 kStream,
                 2,
                 {{"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + event("a"), true}},
                 "request;text:a;failed:connection_broken;",
                 1},
        Attempts{"NotATruncatedAnswer",
                 kStream,
                 2,
                 {{events(event("a"))}},
                 "request;text:a;failed:truncated_answer;",
                 1},
        Attempts{"NotAnEmptyAnswer", kStream, 2, {{events("")}}, "request;failed:;", 1},
        Attempts{
            "NotNonsense", kStream, 2, {{events("data:nonsense\n\n")}}, "request;failed:invalid_answer;", 1}),
    [](const auto& test) { return test.param.name; });

TEST_F(Completions, RefusedConnectionsAreRetried) {
  config_.targets[0].base_url = base_url_of(listen_on_loopback(0));  // closed again
  config_.upstream_retries = 1;
  EXPECT_EQ(outcome(), "retry:connect_failed;failed:connect_failed;");
}

// Answers every connection at once, in plain text.
class UpstreamWithoutTls {
 public:
  explicit UpstreamWithoutTls(EventLoop& loop) : acceptable_(loop, bind<&UpstreamWithoutTls::accept>(this)) {
    acceptable_.watch(listener_.get(), IoEvent::kRead);
  }
  [[nodiscard]] std::string base_url() const { return "https" + base_url_of(listener_).substr(4); }

 private:
  void accept() {
    constexpr std::string_view kPlain = "HTTP/1.1 400 Bad Request\r\n\r\n";
    peer_ = UniqueFd(::accept(listener_.get(), nullptr, nullptr));
    ::send(peer_.get(), kPlain.data(), kPlain.size(), MSG_NOSIGNAL);
  }

  UniqueFd listener_ = listen_on_loopback(4);
  UniqueFd peer_;
  IoEvent acceptable_;
};

TEST_F(Completions, UntrustedConnectionsAreNotRetried) {
  const UpstreamWithoutTls upstream(loop_);
  config_.targets[0].base_url = upstream.base_url();
  config_.upstream_retries = 1;
  EXPECT_EQ(outcome(), "failed:tls_failed;");
}

// --- exceptions ---

TEST_F(Completions, AnExceptionOfTheHandlerIsItsLastCall) {
  upstream_.script = {{kAnswer}};
  visitor_.after_first_text = [] { throw std::bad_alloc(); };
  EXPECT_EQ(outcome(), "request;text:a;exception:std::bad_alloc;");
}

TEST_F(Completions, AnExceptionAtTheEndIsReportedToo) {
  upstream_.script = {{kAnswer}};
  visitor_.after_end = [] { throw std::bad_alloc(); };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;exception:std::bad_alloc;");
}

TEST_F(Completions, AnExceptionAtAnEndThatLibcurlHeldIsReportedToo) {
  upstream_.script = {
      {chunked(event("a")) + fmt::format("{:x}\r\n{}\r\n", event("b", "stop").size(), event("b", "stop"))}};
  visitor_.after_first_text = [this] {
    EXPECT_TRUE(completion_->pause());
    after_a_while([this] { completion_->resume(); });
  };
  visitor_.after_end = [] { throw std::bad_alloc(); };
  EXPECT_EQ(outcome(), "request;text:a;text:b;finished:stop;exception:std::bad_alloc;");
}

TEST_F(Completions, AnExceptionAfterATimeoutIsReportedToo) {
  config_.first_token_timeout = kSoon;
  visitor_.after_end = [] { throw std::bad_alloc(); };
  EXPECT_EQ(outcome(), "request;failed:first_token_timeout;exception:std::bad_alloc;");
}

TEST_F(Completions, AnExceptionWhileBackingOffIsReportedToo) {
  upstream_.script = {{json(429, kThrottled)}};
  config_.upstream_retries = 1;
  visitor_.after_retry = [] { throw std::bad_alloc(); };
  EXPECT_EQ(outcome(), "request;retry:Throttling;exception:std::bad_alloc;");
  EXPECT_EQ(upstream_.requests(), 1U);
}

}  // namespace
}  // namespace bailian
