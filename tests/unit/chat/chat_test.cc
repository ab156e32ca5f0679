#include "chat/chat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <new>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/json.h"
#include "dialects/myapi.h"
#include "unit/chat/scripted_ledger.h"
#include "unit/loop_steps.h"
#include "unit/loop_timers.h"
#include "unit/loop_upstream.h"

namespace bailian {
namespace {

constexpr Seconds kNever{60};
constexpr Seconds kSoon{0.02};
constexpr std::chrono::milliseconds kLater{100};  // several heartbeats later than kSoon

std::string event(const std::string& text, const std::string& finish = "null") {
  return R"(data:{"output":{"session_id":"s","finish_reason":")" + finish + R"(","text":")" + text +
         "\"}}\n\n";
}
const std::string kThought =
    R"(data:{"output":{"session_id":"s","finish_reason":"null","text":"","thoughts":[{"action_type":"reasoning","thought":"hm"}]}})"
    "\n\n";
const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n\r\n";
const std::string kError = R"({"code":"InternalError","message":"broken"})";
const std::string kErrorEvent = "event:error\n:HTTP_STATUS/500\ndata:" + kError + "\n\n";
const std::string kErrorReply =
    "HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(kError.size()) +
    "\r\n\r\n" + kError;

/// A browser that records in short form what it receives, and expects nothing after the end.
class Browser final : public ClientStream {
 public:
  std::string log;
  std::string body;  // of a whole answer
  size_t unsent = 0;
  bool out_of_memory = false;

  [[nodiscard]] bool has_ended() const { return ends_ > 0; }

  void send(const Reply& reply) override {
    body = reply.body;
    JsonDocument document;
    parse_json(body, document);
    const JsonValue* word = find_member(document, reply.status == 200 ? "result" : "code");
    note("send " + std::to_string(reply.status) + " " + std::string(as_view(*word)));
    ++ends_;
  }
  void begin(const Reply& head) override { note("begin " + std::to_string(head.status)); }
  void write(std::string_view bytes) override { note(in_short(bytes)); }
  void finish() override {
    note("end");
    ++ends_;
  }
  void abort() noexcept override {
    out_of_memory = false;
    note("abort");
    ++ends_;
  }
  [[nodiscard]] size_t unsent_bytes() const override { return unsent; }
  [[nodiscard]] uint64_t sent_bytes() const override { return 0; }

 private:
  static std::string in_short(std::string_view bytes) {
    if (bytes.starts_with(':')) return "beat";
    JsonDocument json;
    EXPECT_FALSE(parse_json(bytes.substr(6), json)) << bytes;
    for (const char* name : {"content", "thought", "code", "message"}) {
      if (const JsonValue* value = find_member(json, name)) return std::string(as_view(*value));
    }
    return "?";
  }
  void note(const std::string& what) {
    if (out_of_memory) throw std::bad_alloc();
    EXPECT_EQ(ends_, 0) << what << " after the end of: " << log;
    if (what == "beat" && log.ends_with("beat;")) return;  // their number depends on the machine
    log += what + ";";
  }

  int ends_ = 0;
};

class Chats : public testing::Test {
 protected:
  Chats() {
    config_.targets[0].api_key = "sk-0123456789abcdef";
    config_.targets[0].app_id = "app";
    config_.parameters_json = "{}";
    config_.connect_timeout = config_.first_token_timeout = config_.idle_timeout = config_.timeout = kNever;
    config_.targets[0].base_url = upstream_.base_url();
    config_.max_streams = 1;
    config_.client_buffer_bytes = 4000;
    upstream_.on_disconnected = [this] { upstream_left_ = true; };
  }

  void ask(AnswerMode mode, const std::string& body = R"({"last_prompt":"q"})") {
    Request request;
    request.body = body;
    request.request_id = "r";
    const char* path = mode == AnswerMode::kStream ? "/chat/stream" : "/chat";
    snapshot_ = std::make_shared<ConfigSnapshot>(loop_, config_, state_, received_);
    ParsedRequest parsed = kMyapi.parse(request, path, {100, 10});
    chat_ = std::make_unique<Chat>(
        loop_, board_, state_, browser_, parsed.question,
        AdmittedChat{"r", Endpoint::kChatStream, snapshot_, *snapshot_->find(kDefaultBot),
                     state_.take_permit(snapshot_->bots.front().streams), kMyapi, Headers{}, kKey,
                     std::move(parsed.writer), "192.0.2.1", Admission{}, flights_, pauses_});
  }

  [[nodiscard]] std::optional<ChatPhase> phase() const {
    std::vector<ChatView> views;
    static_cast<void>(board_.read(0, 1, Clock::now(), views));
    return views.empty() ? std::nullopt : std::optional(views.front().phase);
  }

  AccessRecord record() const {
    AccessRecord record;
    chat_->describe(record);
    return record;
  }

  void when(
      std::function<bool()> holds, std::function<void()> action = [] {}) {
    steps_.when(std::move(holds), std::move(action));
  }
  void when_phase(
      ChatPhase wanted, std::function<void()> action = [] {}) {
    when([this, wanted] { return phase() == wanted; }, std::move(action));
  }
  // All bytes sent before have arrived.
  void settle() { steps_.when_settled(); }
  void play() { steps_.play(); }

  static constexpr FailedStreams::Key kKey = 7;

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Tally received_;
  Config config_;
  LoopUpstream upstream_{loop_};
  bool upstream_left_ = false;
  Config limits_ = [] {
    Config limits;
    limits.max_streams = 1;
    return limits;
  }();
  ServiceState state_{limits_};
  LoopBoard& board_ = state_.board.add_loop();
  std::shared_ptr<ConfigSnapshot> snapshot_;
  Browser browser_;
  ScriptedLedger ledger_;  // of PaidChats
  PauseWatch pauses_{loop_};
  Flights flights_{loop_};
  std::unique_ptr<Chat> chat_;
  LoopSteps steps_{loop_, [this] { return browser_.log; }};
};

// --- every phase, and the events in it ---

enum class Happens {
  kAnswerEnds,
  kUpstreamFails,
  kVisitorLeaves,
  kShutdown,
  kHeartbeat,
  kFlushed,
  kNoMemory
};

struct Case {
  const char* name;
  ChatPhase phase;
  Happens happens;
  std::string log;
  Outcome outcome = Outcome::kDone;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

class ChatPhases : public Chats, public testing::WithParamInterface<Case> {
 protected:
  [[nodiscard]] AnswerMode mode() const {
    return GetParam().phase == ChatPhase::kCollecting ? AnswerMode::kJson : AnswerMode::kStream;
  }
  [[nodiscard]] bool has_answer_begun() const {
    return GetParam().phase != ChatPhase::kWaiting && GetParam().phase != ChatPhase::kOpen;
  }

  void reach_phase() {
    const bool beats = GetParam().phase == ChatPhase::kOpen || GetParam().happens == Happens::kHeartbeat;
    config_.heartbeat = beats ? kSoon : Seconds::zero();
    if (has_answer_begun()) upstream_.script = {{kHead + event("a")}};
    if (GetParam().phase == ChatPhase::kPaused) browser_.unsent = 1001;
    ask(mode());
    EXPECT_EQ(phase(), ChatPhase::kWaiting);
    when([this] { return upstream_.requests() == 1; });
    if (GetParam().phase != ChatPhase::kWaiting) when_phase(GetParam().phase);
  }

  // On a slow machine a heartbeat may be sent before the first piece.
  [[nodiscard]] std::string log() const {
    std::string log = browser_.log;
    if (const size_t early = log.find("beat;a;"); early != std::string::npos) log.erase(early, 5);
    return log;
  }

  void end_answer() { upstream_.send((has_answer_begun() ? "" : kHead) + event("b", "stop")); }

  void happen() {
    switch (GetParam().happens) {
      case Happens::kAnswerEnds:
        return when([] { return true; }, [this] { end_answer(); });
      case Happens::kUpstreamFails:
        return when([] { return true; },
                    [this] { upstream_.send(has_answer_begun() ? kErrorEvent : kErrorReply); });
      case Happens::kVisitorLeaves:
        when([] { return true; }, [this] { chat_.reset(); });
        return when([this] { return upstream_left_; });
      case Happens::kShutdown:
        return when([] { return true; }, [this] { chat_->on_shutdown(); });
      case Happens::kHeartbeat:
        later_.start(kLater);
        return when([this] { return is_later_; }, [this] { end_answer(); });
      case Happens::kFlushed:
        return when([] { return true; },
                    [this] {
                      browser_.unsent = 0;
                      chat_->on_flushed();
                      end_answer();
                    });
      case Happens::kNoMemory:
        return when([] { return true; },
                    [this] {
                      browser_.out_of_memory = true;
                      end_answer();
                    });
    }
  }

  // A paused answer resumes once the browser has caught up.
  void catch_up() {
    if (GetParam().phase != ChatPhase::kPaused || GetParam().happens == Happens::kVisitorLeaves) return;
    settle();
    when([] { return true; },
         [this] {
           browser_.unsent = 0;
           chat_->on_flushed();
         });
  }

 private:
  void on_later() { is_later_ = true; }

  Timer later_{loop_, bind<&ChatPhases::on_later>(this)};
  bool is_later_ = false;
};

TEST_P(ChatPhases, EndOnceAndInTheRightWay) {
  const bool leaves = GetParam().happens == Happens::kVisitorLeaves;
  reach_phase();
  happen();
  catch_up();
  if (!leaves) {
    when([this] { return browser_.has_ended(); });
    when_phase(ChatPhase::kFinished, [this] {
      EXPECT_EQ(record().outcome, GetParam().outcome);
      EXPECT_TRUE(GetParam().happens == Happens::kNoMemory || state_.streams.taken() == 0)
          << "a slow browser must not keep the next visitor out";
      chat_->on_flushed();
      chat_->on_sent();
      chat_->on_shutdown();
    });
    settle();
    when([] { return true; }, [this] { chat_.reset(); });
  }
  play();
  EXPECT_EQ(log(), GetParam().log);
  EXPECT_EQ(state_.streams.taken(), 0);
  EXPECT_FALSE(phase()) << "it is still on the board";
  EXPECT_EQ(upstream_.requests(), 1U);
}

using enum ChatPhase;
using enum Happens;
INSTANTIATE_TEST_SUITE_P(
    Chats, ChatPhases,
    testing::Values(
        Case{"WaitingAnswerEnds", kWaiting, kAnswerEnds, "begin 200;b;Stream completed;end;"},
        Case{"WaitingUpstreamFails", kWaiting, kUpstreamFails, "send 502 upstream_error;", Outcome::kError},
        Case{"WaitingVisitorLeaves", kWaiting, kVisitorLeaves, ""},
        Case{"WaitingShutdown", kWaiting, kShutdown, "send 502 upstream_error;", Outcome::kError},
        Case{"WaitingHeartbeat", kWaiting, kHeartbeat, "begin 200;beat;b;Stream completed;end;"},
        Case{"WaitingFlushed", kWaiting, kFlushed, "begin 200;b;Stream completed;end;"},
        Case{"WaitingNoMemory", kWaiting, kNoMemory, "abort;"},
        Case{"OpenAnswerEnds", kOpen, kAnswerEnds, "begin 200;beat;b;Stream completed;end;"},
        Case{"OpenUpstreamFails", kOpen, kUpstreamFails, "begin 200;beat;upstream_error;end;",
             Outcome::kError},
        Case{"OpenVisitorLeaves", kOpen, kVisitorLeaves, "begin 200;beat;"},
        Case{"OpenShutdown", kOpen, kShutdown, "begin 200;beat;upstream_error;end;", Outcome::kError},
        Case{"OpenHeartbeat", kOpen, kHeartbeat, "begin 200;beat;b;Stream completed;end;"},
        Case{"OpenFlushed", kOpen, kFlushed, "begin 200;beat;b;Stream completed;end;"},
        Case{"OpenNoMemory", kOpen, kNoMemory, "begin 200;beat;abort;"},
        Case{"StreamingAnswerEnds", kStreaming, kAnswerEnds, "begin 200;a;b;Stream completed;end;"},
        Case{"StreamingUpstreamFails", kStreaming, kUpstreamFails, "begin 200;a;upstream_error;end;",
             Outcome::kError},
        Case{"StreamingVisitorLeaves", kStreaming, kVisitorLeaves, "begin 200;a;"},
        Case{"StreamingShutdown", kStreaming, kShutdown, "begin 200;a;upstream_error;end;", Outcome::kError},
        Case{"StreamingHeartbeat", kStreaming, kHeartbeat, "begin 200;a;beat;b;Stream completed;end;"},
        Case{"StreamingFlushed", kStreaming, kFlushed, "begin 200;a;b;Stream completed;end;"},
        Case{"StreamingNoMemory", kStreaming, kNoMemory, "begin 200;a;abort;"},
        Case{"PausedAnswerEnds", kPaused, kAnswerEnds, "begin 200;a;b;Stream completed;end;"},
        Case{"PausedUpstreamFails", kPaused, kUpstreamFails, "begin 200;a;upstream_error;end;",
             Outcome::kError},
        Case{"PausedVisitorLeaves", kPaused, kVisitorLeaves, "begin 200;a;"},
        Case{"PausedShutdown", kPaused, kShutdown, "begin 200;a;upstream_error;end;", Outcome::kError},
        Case{"PausedHeartbeat", kPaused, kHeartbeat, "begin 200;a;b;Stream completed;end;"},
        Case{"PausedFlushed", kPaused, kFlushed, "begin 200;a;b;Stream completed;end;"},
        Case{"PausedNoMemory", kPaused, kNoMemory, "begin 200;a;abort;"},
        Case{"CollectingAnswerEnds", kCollecting, kAnswerEnds, "send 200 ab;"},
        Case{"CollectingUpstreamFails", kCollecting, kUpstreamFails, "send 502 upstream_error;",
             Outcome::kError},
        Case{"CollectingVisitorLeaves", kCollecting, kVisitorLeaves, ""},
        Case{"CollectingShutdown", kCollecting, kShutdown, "send 502 upstream_error;", Outcome::kError},
        Case{"CollectingHeartbeat", kCollecting, kHeartbeat, "send 200 ab;"},
        Case{"CollectingFlushed", kCollecting, kFlushed, "send 200 ab;"},
        Case{"CollectingNoMemory", kCollecting, kNoMemory, "abort;"}),
    [](const auto& test) { return test.param.name; });

// --- the rest ---

TEST_F(Chats, IgnoreTheUpstreamOnceAHeartbeatHasFailed) {
  config_.heartbeat = kSoon;
  ask(AnswerMode::kStream);
  when([this] { return upstream_.requests() == 1; }, [this] { browser_.out_of_memory = true; });
  when([this] { return browser_.has_ended(); }, [this] { upstream_.send(kHead + event("b", "stop")); });
  settle();
  play();
  EXPECT_TRUE(browser_.log == "abort;" || browser_.log == "begin 200;beat;abort;") << browser_.log;
}

TEST_F(Chats, BeatOnlyAfterAWholeHeartbeatOfSilence) {
  static constexpr std::chrono::milliseconds kHeartbeat{100};
  config_.heartbeat = kHeartbeat;
  ask(AnswerMode::kStream);
  const auto start = Clock::now();
  auto sent = start;
  when([start] { return Clock::now() - start >= kHeartbeat / 2; },
       [&] {
         sent = Clock::now();
         upstream_.send(kHead + event("a"));
       });
  when([this] { return browser_.log.ends_with("a;beat;"); },
       [&] {
         EXPECT_GE(Clock::now() - sent, kHeartbeat);
         upstream_.send(event("b", "stop"));
       });
  when_phase(kFinished);
  play();
}

TEST_F(Chats, SendAHeartbeatOnlyAfterSilence) {
  config_.heartbeat = Seconds(15);
  const LoopTimers timers(loop_);
  const auto heartbeat = to_duration(config_.heartbeat);
  const auto start = Clock::now();
  auto written = start;
  ask(AnswerMode::kStream);
  when([this] { return upstream_.requests() == 1; });
  when([start] { return Clock::now() > start + kLater; },
       [&] {
         written = Clock::now();
         upstream_.send(kHead + event("a"));
       });
  when_phase(kStreaming, [&] { EXPECT_TRUE(timers.end(heartbeat, start)); });
  settle();
  when([] { return true; },
       [&] { EXPECT_TRUE(timers.has(heartbeat, written)) << "it is due after the text"; });
  play();
  EXPECT_EQ(browser_.log, "begin 200;a;");
}

TEST_F(Chats, PauseTheUpstreamForASlowBrowser) {
  upstream_.script = {{kHead + event("a")}};
  browser_.unsent = 1001;
  ask(AnswerMode::kStream);
  when_phase(kPaused, [this] { upstream_.send(event("b")); });
  settle();
  when([] { return true; },
       [this] {
         EXPECT_EQ(browser_.log, "begin 200;a;") << "nothing is read while it is paused";
         browser_.unsent = 0;
         chat_->on_flushed();
       });
  when([this] { return browser_.log == "begin 200;a;b;"; });
  when_phase(kStreaming);
  play();
  EXPECT_NE(state_.metrics.text({}).find("bailian_backpressure_pauses_total 1\n"), std::string::npos);
}

TEST_F(Chats, DoNotPauseForAQuarterOfTheBuffer) {
  upstream_.script = {{kHead + event("a")}};
  browser_.unsent = 1000;
  ask(AnswerMode::kStream);
  when_phase(kStreaming, [this] { upstream_.send(event("b", "stop")); });
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "begin 200;a;b;Stream completed;end;");
}

TEST_F(Chats, DescribeAFailureWithoutTheKeyAndWithoutControlCharacters) {
  const std::string body = R"({"code":")" + config_.targets[0].api_key + R"(\u001b[2J","message":"of )" +
                           config_.targets[0].api_key +
                           R"(\u001b[2J","request_id":"r\u001b[2J","output":null})";
  upstream_.script = {{"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: " +
                       std::to_string(body.size()) + "\r\n\r\n" + body}};
  ask(AnswerMode::kStream);
  when_phase(kFinished);
  play();
  const AccessRecord failed = record();
  EXPECT_EQ(failed.upstream_code, "*** [2J");
  EXPECT_EQ(failed.detail, "of *** [2J");
  EXPECT_EQ(failed.upstream_request_id, "r [2J");
}

TEST_F(Chats, DescribeAnAnswerWithoutControlCharacters) {
  upstream_.script = {
      {kHead +
       R"(data:{"request_id":"r\u001b[2J","output":{"session_id":"s","finish_reason":"stop","text":"a"},)"
       R"("usage":{"models":[{"model_id":"m\u001b[2J","input_tokens":3,"output_tokens":4}]}})"
       "\n\n"}};
  ask(AnswerMode::kStream);
  when_phase(kFinished);
  play();
  EXPECT_EQ(record().model, "m [2J");
  EXPECT_EQ(record().upstream_request_id, "r [2J");
}

TEST_F(Chats, KeepThoughtsFromThoseWhoDoNotAskForThem) {
  upstream_.script = {{kHead + kThought + event("a", "stop")}};
  ask(AnswerMode::kStream);
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "begin 200;a;Stream completed;end;");
}

TEST_F(Chats, SendThoughtsThatAreAskedFor) {
  upstream_.script = {{kHead + kThought + event("a", "stop")}};
  ask(AnswerMode::kStream, R"({"last_prompt":"q","include_thoughts":true})");
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "begin 200;hm;a;Stream completed;end;");
}

TEST_F(Chats, PutTheThoughtIntoAWholeAnswerOnlyIfItIsAskedFor) {
  upstream_.script = {{kHead + kThought + event("a", "stop")}, {kHead + kThought + event("a", "stop")}};
  ask(AnswerMode::kJson);
  when_phase(kFinished, [this] {
    EXPECT_EQ(browser_.body.find("thought"), std::string::npos) << browser_.body;
    browser_ = Browser();
    chat_.reset();
    ask(AnswerMode::kJson, R"({"last_prompt":"q","include_thoughts":true})");
  });
  when_phase(kFinished);
  play();
  EXPECT_NE(browser_.body.find(R"("thought":"hm")"), std::string::npos) << browser_.body;
}

TEST_F(Chats, ShowPiecesUntilTheUpstreamCountsTokens) {
  const auto tokens = [this] {
    std::vector<ChatView> views;
    static_cast<void>(board_.read(0, 1, Clock::now(), views));
    return views.empty() ? 0 : views.front().tokens;
  };
  upstream_.script = {{kHead + event("a") + event("b")}};
  ask(AnswerMode::kStream);
  when(
      [tokens] { return tokens() == 2; },
      [this] {
        upstream_.send(
            R"(data:{"output":{"finish_reason":"null","text":"c"},"usage":{"models":[{"output_tokens":40}]}})"
            "\n\n");
      });
  when([tokens] { return tokens() > 2; }, [tokens] { EXPECT_EQ(tokens(), 40U); });
  play();
}

TEST_F(Chats, RememberAStreamThatFailedAfterTheUpstreamWasAsked) {
  upstream_.script = {{kHead + event("a") + kErrorEvent}};
  ask(AnswerMode::kStream);
  when_phase(kFinished);
  play();
  const auto failure = state_.failed_streams.take(kKey, Clock::now());
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->upstream_code, "InternalError");
  EXPECT_EQ(failure->error.code(), "upstream_error");
}

TEST_F(Chats, ForgetAWholeAnswerThatFailed) {
  upstream_.script = {{kErrorReply}};
  ask(AnswerMode::kJson);
  when_phase(kFinished);
  play();
  EXPECT_FALSE(state_.failed_streams.take(kKey, Clock::now()));
}

TEST_F(Chats, DescribeAnAnswerThatTheVisitorLeft) {
  upstream_.script = {{kHead + event("a")}};
  ask(AnswerMode::kStream);
  when_phase(kStreaming, [this] {
    const AccessRecord left = record();
    EXPECT_TRUE(left.is_chat);
    EXPECT_FALSE(left.is_complete);
    EXPECT_TRUE(left.first_token);
    EXPECT_TRUE(left.usage);
  });
  play();
}

// --- with a ledger ---

class PaidChats : public Chats {
 protected:
  PaidChats() { state_.ledger = &ledger_; }

  static std::string paid(const std::string& text, int output_tokens, const std::string& finish = "null") {
    return R"(data:{"output":{"session_id":"s","finish_reason":")" + finish + R"(","text":")" + text +
           R"("},"usage":{"models":[{"input_tokens":3,"output_tokens":)" + std::to_string(output_tokens) +
           "}]}}\n\n";
  }
};

TEST_F(PaidChats, AreNoChatsWhenTheyAreRefusedAtOnce) {
  ledger_.refusal = {Refusal::Cause::kUsedUp, std::chrono::seconds(9)};
  EXPECT_THROW(ask(AnswerMode::kStream), HttpError);
  EXPECT_EQ(ledger_.visitor, "192.0.2.1");
  EXPECT_EQ(browser_.log, "") << "the router answers";
  EXPECT_EQ(state_.streams.taken(), 0);
  EXPECT_FALSE(phase());
}

TEST_F(PaidChats, GetARealErrorBeforeTheFirstText) {
  ledger_.lease_tokens = 1;
  upstream_.script = {{kHead + kThought + paid("", 9)}};
  ask(AnswerMode::kStream);
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "send 429 budget_used_up;");
  EXPECT_EQ(record().upstream_code, "budget_used_up");
  EXPECT_EQ(record().outcome, Outcome::kError);
  const auto repeated = state_.failed_streams.take(kKey, Clock::now());
  ASSERT_TRUE(repeated) << "a fallback must not be billed, or refused a second time";
  EXPECT_EQ(repeated->error.code(), "budget_used_up");
  EXPECT_TRUE(repeated->error.forbids_retry());
}

TEST_F(PaidChats, AreNotRepeatedAsFailuresWhenAnotherProcessIsAnswering) {
  ledger_.is_pending = true;
  ask(AnswerMode::kStream);
  ledger_.refuse({Refusal::Cause::kUnderWay, std::chrono::seconds(1)});
  EXPECT_EQ(browser_.log, "send 409 idempotency_in_progress;");
  EXPECT_FALSE(state_.failed_streams.take(kKey, Clock::now()));
}

TEST_F(PaidChats, EndInTheMiddleWithTheLastEventOfAFailure) {
  ledger_.lease_tokens = 4;
  upstream_.script = {{kHead + paid("a", 1)}};
  ask(AnswerMode::kStream);
  when_phase(kStreaming, [this] { upstream_.send(paid("b", 2)); });
  when_phase(kFinished);
  when([this] { return upstream_left_; });
  play();
  EXPECT_EQ(browser_.log, "begin 200;a;b;budget_used_up;end;");
  EXPECT_EQ(record().outcome, Outcome::kError);
  EXPECT_FALSE(record().is_complete);
  EXPECT_EQ(record().usage->output_tokens, 2U);
  EXPECT_EQ(state_.streams.taken(), 0);
  EXPECT_TRUE(state_.failed_streams.take(kKey, Clock::now()));
}

TEST_F(PaidChats, GiveWhatThereIsOfAWholeAnswer) {
  ledger_.lease_tokens = 4;
  upstream_.script = {{kHead + paid("a", 1) + paid("b", 2)}};
  ask(AnswerMode::kJson);
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "send 200 ab;");
  EXPECT_TRUE(browser_.body.ends_with(R"(,"truncated":true,"code":"budget_used_up"})")) << browser_.body;
  EXPECT_EQ(record().outcome, Outcome::kError);
  EXPECT_EQ(state_.streams.taken(), 0);
  EXPECT_FALSE(state_.failed_streams.take(kKey, Clock::now()));
}

TEST_F(PaidChats, GiveNoWholeAnswerOfThoughtsAlone) {
  ledger_.lease_tokens = 1;
  upstream_.script = {{kHead + kThought + paid("", 9)}};
  ask(AnswerMode::kJson, R"({"last_prompt":"q","include_thoughts":true})");
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "send 429 budget_used_up;");
}

TEST_F(PaidChats, BeatWhileTheLeaseIsPendingAndGoOn) {
  config_.heartbeat = kSoon;
  ledger_.is_pending = true;
  upstream_.script = {{kHead + paid("a", 1, "stop")}};
  ask(AnswerMode::kStream);
  when_phase(kOpen, [this] { ledger_.grant(); });
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "begin 200;beat;a;Stream completed;end;");
  EXPECT_TRUE(record().is_chat);
}

TEST_F(PaidChats, AreRefusedInAStreamThatHasBegun) {
  config_.heartbeat = kSoon;
  ledger_.is_pending = true;
  ask(AnswerMode::kStream);
  when_phase(kOpen, [this] { ledger_.refuse({Refusal::Cause::kUsedUp}); });
  when_phase(kFinished);
  play();
  EXPECT_EQ(browser_.log, "begin 200;beat;budget_used_up;end;");
  EXPECT_FALSE(record().is_chat) << "the upstream was not asked";
  EXPECT_EQ(upstream_.requests(), 0U);
}

TEST_F(PaidChats, EndWhileTheLeaseIsPending) {
  for (const AnswerMode mode : {AnswerMode::kStream, AnswerMode::kJson}) {
    browser_ = Browser();
    ledger_.log.clear();
    ledger_.is_pending = true;
    ask(mode);
    chat_->on_flushed();
    chat_->on_sent();
    chat_->on_shutdown();
    EXPECT_EQ(browser_.log, "send 502 upstream_error;");
    EXPECT_EQ(ledger_.log, "take;free;") << "the visitor has not left";
    EXPECT_FALSE(record().is_chat);
    ask(mode);
    chat_.reset();
    EXPECT_EQ(ledger_.open_leases, 0);
  }
  EXPECT_EQ(upstream_.requests(), 0U);
}

TEST_F(PaidChats, AreNotAbandonedByTheEndOfTheProgram) {
  upstream_.script = {{kHead + paid("a", 1)}};
  ask(AnswerMode::kStream);
  when_phase(kStreaming, [this] { chat_->on_shutdown(); });
  play();
  EXPECT_EQ(ledger_.log.find("abandon"), std::string::npos) << ledger_.log;
  EXPECT_EQ(ledger_.used, 4U);
}

TEST_F(PaidChats, CountWhatHadArrivedWhenTheBrowsersMemoryFails) {
  ask(AnswerMode::kStream);
  when([this] { return upstream_.requests() == 1; },
       [this] {
         browser_.out_of_memory = true;
         upstream_.send(kHead + paid("a", 1));
       });
  when([this] { return browser_.has_ended(); }, [this] { chat_.reset(); });
  play();
  EXPECT_EQ(browser_.log, "abort;");
  EXPECT_EQ(ledger_.used, 4U);
  EXPECT_EQ(ledger_.open_leases, 0);
}

TEST(ConfigSnapshots, FindBotsByName) {
  EventLoop loop(std::chrono::nanoseconds::zero());
  Tally received;
  Config config;
  for (const char* name : {"help", "shop"}) config.bots.emplace_back().name = name;
  ServiceState state(config);
  ConfigSnapshot snapshot(loop, config, state, received);
  ASSERT_NE(snapshot.find("default"), nullptr);
  EXPECT_EQ(&snapshot.find("default")->config, &snapshot.config);
  for (const char* name : {"default", "help", "shop"}) EXPECT_EQ(snapshot.find(name)->config.name, name);
  for (const char* name : {"", "Default", "default ", "other"})
    EXPECT_EQ(snapshot.find(name), nullptr) << name;
}

}  // namespace
}  // namespace bailian
