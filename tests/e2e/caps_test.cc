// Caps on tokens: what is spent is what was billed, in every way in which an answer can end, and no cap
// leaks.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"
#include "harness/stranger.h"

namespace bailian::e2e {
namespace {

constexpr int kSlice = 512;
constexpr int kInput = 24;  // that the simulator counts for a prompt of 16 to 19 bytes

// What the ledger says of all bots together.
struct Account {
  int64_t spent = 0;  // today
  int64_t estimated = 0;
  int64_t answers = 0;
  int64_t refused = 0;
  int64_t open = 0;
};

// A responder between visitors that the test plays and the simulator. No nginx: its limits are not the
// subject.
class Caps : public testing::Test {
 protected:
  void start(const Settings& settings) {
    settings_ = settings;
    settings_.merge(site_settings(dir_, simulator_));
    settings_.emplace("CAP_EXPECTED_INPUT", "30");
    responder_.emplace(responder_command(dir_, settings_));
  }
  void TearDown() override {
    simulator_.release();
    if (!responder_) return;
    responder_->process().signal(SIGTERM);
    EXPECT_EQ(responder_->process().wait(), 0);
    check_log(responder_->log());
    if (HasFailure()) std::cerr << responder_->log();
  }

  [[nodiscard]] Account account() const {
    const Finished usage = run(responder_command(dir_, settings_, {"usage", "--json"}));
    EXPECT_EQ(usage.exit_code, 0) << usage.err;
    const Json json = parse_json(usage.out);
    Account account;
    account.open = number_at(json, "/total/open_leases");
    if (!has(json, "/total/days/0")) return account;
    const JsonValue& today = at(json, "/total/days/0");
    account.estimated = number_at(today, "/estimated_tokens");
    account.spent =
        number_at(today, "/input_tokens") + number_at(today, "/output_tokens") + account.estimated;
    account.answers = number_at(today, "/answers");
    account.refused = number_at(today, "/refused");
    return account;
  }
  // Once no answer is open.
  [[nodiscard]] Account settled() const {
    EXPECT_TRUE(comes_true([this] { return account().open == 0; }));
    return account();
  }

  [[nodiscard]] FcgiPeer ask(const std::string& prompt, const char* path = kStreamPath,
                             const std::string& visitor = "192.0.2.1") const {
    const std::string body = chat_body(prompt);
    auto params = fcgi::params_for("POST", path, body.size());
    params.emplace_back("REMOTE_ADDR", visitor);
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::begin() + fcgi::params_records(params) + fcgi::stdin_records(body));
    return peer;
  }
  [[nodiscard]] Response answer(const std::string& prompt, const char* path = kStreamPath,
                                const std::string& visitor = "192.0.2.1") const {
    return ask(prompt, path, visitor).read_reply().response;
  }
  [[nodiscard]] Response get(const char* path) const {
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::request("GET", path));
    return peer.read_reply().response;
  }
  static bool is_complete(const Response& response) {
    return response.status == 200 && response.body.find("Stream completed") != std::string::npos;
  }
  static bool is_used_up(const Response& response) {
    return response.body.find(R"("code":"budget_used_up")") != std::string::npos;
  }
  // Reads until this part of the answer has arrived.
  static void await_part(FcgiPeer& peer, std::string_view part) {
    while (peer.answer_so_far().find(part) == std::string::npos) peer.read_stdout();
  }

  // A hundred at a time; each leaves once all of them have been awaited.
  void a_thousand_leave(const std::function<FcgiPeer()>& ask_once,
                        const std::function<void(FcgiPeer&)>& await) const {
    for (int round = 0; round < 10; ++round) {
      std::vector<FcgiPeer> peers;
      for (int i = 0; i < 100; ++i) peers.push_back(ask_once());
      for (FcgiPeer& peer : peers) await(peer);
      peers.clear();
      ASSERT_TRUE(simulator_.falls_to("open", 0));
    }
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  Settings settings_;
  std::optional<Responder> responder_;
};

// --- a cap neither leaks nor blocks too early ---

TEST_F(Caps, OfTwentyFiveAnswersPayForTwentyFiveAndTheNextIsNotAskedFor) {
  const std::string prompt = "[[sim events=76]]";
  constexpr int kCost = kInput + 76;
  start({{"CAP_DAY_TOKENS", std::to_string(25 * kCost)}});
  for (int i = 0; i < 25; ++i) EXPECT_TRUE(is_complete(answer(prompt))) << i;
  EXPECT_EQ(simulator_.billed(), 25 * kCost);
  const Response refused = answer(prompt);
  expect_error(refused, 429, "budget_used_up", "The budget is used up");
  EXPECT_EQ(refused.headers.get("x-should-retry"), "false");
  EXPECT_GT(std::stoi(refused.headers.get("Retry-After")), 0);
  EXPECT_LE(std::stoi(refused.headers.get("Retry-After")), 86400);
  EXPECT_EQ(simulator_.count("requests"), 25);
  const Account account = settled();
  EXPECT_EQ(account.spent, 25 * kCost);
  EXPECT_EQ(account.answers, 25);
  EXPECT_EQ(account.refused, 1);
  EXPECT_EQ(account.estimated, 0);
}

// What became of those who asked at once.
struct Crowd {
  int complete = 0;
  int cut = 0;
  int refused = 0;
  int64_t received = 0;  // tokens, with the input of each answer
};

class CapsInACrowd : public Caps {
 protected:
  // An event has one token: "tok7 ".
  static int64_t tokens_in(const std::string& body) {
    int64_t tokens = 0;
    for (size_t at = 0; (at = body.find("tok", at)) != std::string::npos; at += 3)
      tokens += at + 3 < body.size() && std::isdigit(static_cast<unsigned char>(body[at + 3])) != 0;
    return tokens;
  }
  Crowd ask_at_once(int visitors, const std::string& prompt) {
    std::vector<FcgiPeer> peers;
    for (int i = 0; i < visitors; ++i)
      peers.push_back(ask(prompt, kStreamPath, "192.0.2." + std::to_string(i % 250)));
    Crowd crowd;
    for (FcgiPeer& peer : peers) {
      const Response response = peer.read_reply().response;
      crowd.complete += is_complete(response);
      crowd.refused += response.status == 429;
      crowd.cut += response.status == 200 && is_used_up(response);
      if (response.status == 200) crowd.received += kInput + tokens_in(response.body);
    }
    EXPECT_EQ(crowd.complete + crowd.cut + crowd.refused, visitors);
    return crowd;
  }
  // What is on its way when an answer is cut is billed, but never arrives.
  void expect_accounted(const Crowd& crowd, int64_t cap) const {
    const int64_t spent = settled().spent;
    EXPECT_GE(spent, crowd.received);
    EXPECT_LE(spent, simulator_.billed());
    EXPECT_LE(spent, cap + crowd.complete + crowd.cut) << "beyond the cap by one frame of each answer";
  }
};

TEST_F(CapsInACrowd, FiveHundredStreamsAtOnceStayWithinACapForFifty) {
  constexpr int kCost = kInput + 100;
  constexpr int kCap = 50 * kCost;
  start({{"CAP_MONTH_TOKENS", std::to_string(kCap)}});
  const Crowd crowd = ask_at_once(500, "[[sim events=100 interval=5]]");
  const int64_t asked = simulator_.count("requests");
  EXPECT_EQ(asked, crowd.complete + crowd.cut);
  EXPECT_LE(simulator_.billed(), kCap + asked * kSlice);
  EXPECT_GE(asked, kCap / kCost / 2);
  expect_accounted(crowd, kCap);
  std::cout << "          " << crowd.complete << " complete, " << crowd.cut << " cut, " << crowd.refused
            << " refused; billed " << simulator_.billed() << " of " << kCap << "\n";
}

TEST_F(CapsInACrowd, TwoHundredFirstQuestionsOfABotWithoutHistoryStayWithinACapForSixty) {
  constexpr int kCost = kInput + 300;
  constexpr int kCap = 60 * kCost;
  start({{"CAP_DAY_TOKENS", std::to_string(kCap)}, {"CAP_EXPECTED_INPUT", "2048"}});
  const Crowd crowd = ask_at_once(200, "[[sim events=300 interval=1 batch=5]]");
  EXPECT_LE(simulator_.billed(), kCap + simulator_.count("requests") * kSlice);
  EXPECT_GT(simulator_.count("requests"), 0);
  expect_accounted(crowd, kCap);
  std::cout << "          " << crowd.complete << " complete, " << crowd.cut << " cut, " << crowd.refused
            << " refused; billed " << simulator_.billed() << " of " << kCap << "\n";
}

TEST_F(Caps, OfOneVisitorDoNotAffectOthers) {
  constexpr int kCost = kInput + 76;
  start({{"CAP_VISITOR_DAY_TOKENS", std::to_string(2 * kCost)}});
  const std::string prompt = "[[sim events=76]]";
  EXPECT_TRUE(is_complete(answer(prompt)));
  EXPECT_TRUE(is_complete(answer(prompt)));
  const Response refused = answer(prompt);
  expect_error(refused, 429, "visitor_budget_used_up", "Your budget for today is used up");
  EXPECT_EQ(refused.headers.get("x-should-retry"), "false");
  EXPECT_FALSE(refused.headers.get("Retry-After").empty());
  for (const char* visitor : {"192.0.2.2", "2001:db8::1"})
    EXPECT_TRUE(is_complete(answer(prompt, kStreamPath, visitor))) << visitor;
  EXPECT_EQ(simulator_.count("requests"), 4);
  EXPECT_EQ(settled().spent, 4 * kCost);
}

TEST_F(Caps, OfZeroAreClosedAndNameNoTime) {
  start({{"CAP_TOTAL_DAY_TOKENS", "0"}});
  const Response refused = answer("[[sim events=1]]");
  expect_error(refused, 429, "budget_used_up", "The budget is used up");
  EXPECT_EQ(refused.headers.count("Retry-After"), 0U);
  EXPECT_EQ(simulator_.count("requests"), 0);
  EXPECT_EQ(get(kReadyPath).status, 200);
}

// --- the end in the middle ---

TEST_F(Caps, EndAStreamInTheMiddleAndLeaveTheUpstream) {
  start({{"CAP_DAY_TOKENS", "1000"}});
  const Response cut = answer("[[sim events=100000 interval=1 batch=10]]");
  EXPECT_EQ(cut.status, 200);
  EXPECT_TRUE(is_used_up(cut)) << cut.body.substr(cut.body.size() - 300);
  EXPECT_TRUE(cut.body.ends_with("}\n\n"));
  EXPECT_NE(cut.body.find(R"("finished":true)"), std::string::npos);
  EXPECT_TRUE(simulator_.reaches("cut", 1));
  const Account account = settled();
  EXPECT_GT(account.spent, 1000 - 64);
  EXPECT_LE(account.spent, 1000 + kSlice);
  expect_error(answer("[[sim events=1]]"), 429, "budget_used_up", "The budget is used up");
  EXPECT_EQ(simulator_.count("requests"), 1);
}

TEST_F(Caps, GiveWhatThereIsOfAWholeAnswer) {
  start({{"CAP_DAY_TOKENS", "1000"}});
  const Response cut = answer("[[sim events=100000 interval=1 batch=10]]", kChatPath);
  EXPECT_EQ(cut.status, 200);
  const Json json = cut.json();
  EXPECT_TRUE(bool_at(json, "/success"));
  EXPECT_TRUE(bool_at(json, "/truncated"));
  EXPECT_EQ(text_at(json, "/code"), "budget_used_up");
  EXPECT_TRUE(text_at(json, "/result").starts_with("tok1 tok2 "));
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

TEST_F(Caps, ARefusedStreamsFallbackIsAnsweredWithoutASecondRefusal) {
  start({{"CAP_DAY_TOKENS", "0"}});
  const std::string prompt = "[[sim events=1]]";
  EXPECT_EQ(answer(prompt).status, 429);
  const Response fallback = answer(prompt, kChatPath);
  expect_error(fallback, 429, "budget_used_up", "The budget is used up");
  EXPECT_EQ(fallback.headers.get("x-should-retry"), "false");
  EXPECT_EQ(settled().refused, 1);
}

TEST_F(Caps, AFallbackIsAnsweredOnceTheOwnerHasOpenedTheBotAgain) {
  dir_.write(".env", "CAP_DAY_TOKENS=0\n");
  start({});
  const std::string prompt = "[[sim events=3]]";
  EXPECT_EQ(answer(prompt).status, 429);
  dir_.write(".env", "CAP_DAY_TOKENS=100000\n");
  responder_->process().signal(SIGHUP);
  EXPECT_TRUE(responder_->logs(R"("event":"reloaded")"));
  EXPECT_EQ(text_at(answer(prompt, kChatPath).json(), "/result"), "tok1 tok2 tok3 ");

  EXPECT_EQ(run(responder_command(dir_, settings_, {"pause"})).exit_code, 0);
  expect_error(answer(prompt), 503, "paused", "The chat is paused");
  EXPECT_EQ(run(responder_command(dir_, settings_, {"resume"})).exit_code, 0);
  EXPECT_EQ(text_at(answer(prompt, kChatPath).json(), "/result"), "tok1 tok2 tok3 ");
  EXPECT_EQ(settled().spent, simulator_.billed());
}

// --- every end costs what was billed ---

TEST_F(Caps, AVisitorWhoLeavesBeforeTheFirstFrameCostsNothing) {
  start({});
  int64_t asked = 0;
  a_thousand_leave([this] { return ask("[[sim events=9 hold=0]]"); },
                   [&](FcgiPeer&) { ASSERT_TRUE(simulator_.reaches("requests", ++asked)); });
  EXPECT_EQ(settled().spent, 0);
}

TEST_F(Caps, AVisitorWhoLeavesInTheTextCostsWhatWasSentByThen) {
  start({});
  a_thousand_leave([this] { return ask("[[sim events=9 hold=3]]"); },
                   [](FcgiPeer& peer) { await_part(peer, "tok3 "); });
  EXPECT_EQ(simulator_.count("output_tokens"), 3000);
  const Account account = settled();
  EXPECT_EQ(account.spent, simulator_.billed());
  EXPECT_EQ(account.answers, 0);
}

TEST_F(Caps, AVisitorWhoLeavesInTheThoughtsCostsWhatWasSentByThen) {
  start({});
  const auto request =
      fcgi::request("POST", kStreamPath,
                    R"({"last_prompt":"[[sim mode=thoughts interval=86400000]]","include_thoughts":true})");
  a_thousand_leave(
      [&] {
        FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
        peer.send(request);
        return peer;
      },
      [](FcgiPeer& peer) { await_part(peer, R"("thought":)"); });
  EXPECT_EQ(simulator_.count("output_tokens"), 1000);
  const Account account = settled();
  EXPECT_EQ(account.spent, simulator_.billed());
  EXPECT_EQ(account.answers, 0);
}

TEST_F(Caps, EveryFailureCostsWhatWasBilled) {
  start({{"UPSTREAM_RETRIES", "1"}});
  for (const char* path : {kStreamPath, kChatPath}) {
    for (const char* directive : {"status=401 code=InvalidApiKey",
                                  "status=400 code=DataInspectionFailed",
                                  "status=429 code=Throttling",
                                  "status=500 code=InternalError",
                                  "status=500 code=InternalError after=3",
                                  "status=429 code=Throttling after=2",
                                  "status=429 code=Throttling times=1 events=4",
                                  "fault=reset",
                                  "fault=cut after=2",
                                  "fault=no-stop events=5",
                                  "fault=truncated-chunk after=2",
                                  "fault=html",
                                  "fault=plain503",
                                  "fault=empty",
                                  "fault=lone-surrogate",
                                  "mode=rag",
                                  "mode=thoughts",
                                  "bytes=20000",
                                  "fault=cumulative events=9",
                                  "finish=length events=3"}) {
      SCOPED_TRACE(std::string(path) + " " + directive);
      const int64_t before = settled().spent;
      simulator_.reset();
      // Another question on each path: the fallback of a stream that failed is not asked for again.
      static_cast<void>(answer(std::string("[[sim ") + directive + "]]" + path, path));
      EXPECT_GT(simulator_.count("requests"), 0);
      EXPECT_EQ(settled().spent - before, simulator_.billed());
    }
  }
}

TEST_F(Caps, AnAnswerThatFallsSilentCostsWhatWasBilled) {
  start({{"IDLE_TIMEOUT", "0.3"}});
  for (const char* path : {kStreamPath, kChatPath})
    static_cast<void>(answer(std::string("[[sim fault=stall]]") + path, path));
  EXPECT_EQ(simulator_.count("output_tokens"), 2);
  EXPECT_EQ(settled().spent, simulator_.billed());
}

TEST_F(Caps, AnotherTargetStartsAnew) {
  start({{"APP_ID", "unknown"}, {"APP_ID_2", std::string(kAppId)}});
  EXPECT_TRUE(is_complete(answer("[[sim events=5]]")));
  EXPECT_EQ(simulator_.count("requests"), 2);
  const Account account = settled();
  EXPECT_EQ(account.spent, simulator_.billed());
  EXPECT_EQ(account.answers, 1);
}

TEST_F(Caps, AnAnswerWithoutUsageIsEstimatedUntilItsLastFrameCorrectsThat) {
  start({});
  FcgiPeer peer = ask("[[sim mode=message_format events=9 hold=3]]");
  await_part(peer, "tok3 ");
  simulator_.release();
  EXPECT_TRUE(is_complete(peer.read_reply().response));
  const Account corrected = settled();
  EXPECT_EQ(corrected.spent, simulator_.billed());
  EXPECT_EQ(corrected.estimated, 0);
  {
    FcgiPeer leaving = ask("[[sim mode=message_format events=9 hold=3]]");
    await_part(leaving, "tok3 ");
  }
  EXPECT_GT(settled().estimated, 0) << "its last frame never came";
  EXPECT_TRUE(is_complete(answer("[[sim mode=full_thoughts events=9]]")));
  EXPECT_GT(settled().estimated, 30) << "this workflow never says what it costs";
}

TEST_F(Caps, AVisitorWhoLeavesMayCostTheWholeLease) {
  start({{"CAP_ON_ABORT", "worst"}});
  {
    FcgiPeer peer = ask("[[sim events=9 hold=3]]");
    await_part(peer, "tok3 ");
  }
  EXPECT_GT(settled().spent, kSlice) << "the slice that it had reserved";
}

// --- one ledger for all processes ---

TEST_F(Caps, KilledAnswersCountAsSpentAndNoMoreThanTheirLeases) {
  start({{"CAP_DAY_TOKENS", "1000000"}});
  std::vector<FcgiPeer> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(ask("[[sim events=9 hold=3]]"));
  for (FcgiPeer& peer : peers) await_part(peer, "tok3 ");
  const int64_t billed = simulator_.billed();
  EXPECT_EQ(account().open, 100);
  responder_->process().signal(SIGKILL);
  responder_->process().wait();
  responder_.emplace(responder_command(dir_, settings_));
  EXPECT_TRUE(is_complete(answer("[[sim events=6]]")));
  const Account account = settled();
  EXPECT_GE(account.spent - kInput - 6, billed);
  EXPECT_LE(account.spent - kInput - 6, billed + int64_t{100} * (kSlice + 30 + kInput));
}

TEST_F(Caps, UpgradesReloadsAndWorkersShareOneLedger) {
  dir_.write(".env", "CAP_DAY_TOKENS=900000000\n");
  start({{"WORKERS", "2"}});
  std::atomic<int> complete{0};
  std::atomic<bool> ends{false};
  std::vector<std::thread> visitors;
  for (int i = 0; i < 8; ++i) {
    visitors.emplace_back([&, i] {
      while (!ends)
        complete +=
            is_complete(answer("[[sim events=20 interval=1]]", kStreamPath, "192.0.2." + std::to_string(i)));
    });
  }
  const auto await_more = [&complete] {
    EXPECT_TRUE(comes_true([&, now = complete.load()] { return complete > now + 20; }));
  };
  await_more();
  dir_.write(".env", "CAP_DAY_TOKENS=800000000\n");
  responder_->process().signal(SIGHUP);
  EXPECT_TRUE(responder_->logs(R"("event":"reloaded")"));
  await_more();
  responder_->process().signal(SIGUSR2);
  const Stranger second(static_cast<pid_t>(number_at(responder_->event("upgraded"), "/pid")));
  await_more();
  ends = true;
  for (std::thread& visitor : visitors) visitor.join();
  EXPECT_EQ(responder_->process().wait_alone(), 0);
  const Account account = settled();
  EXPECT_EQ(account.answers, complete);
  EXPECT_EQ(account.spent, simulator_.billed());
  EXPECT_EQ(simulator_.count("output_tokens"), int64_t{complete} * 20);
  second.signal(SIGTERM);
  second.await_end();
  responder_->process().wait();
  responder_.reset();
}

TEST_F(Caps, ThatAReloadLowersHoldForOpenAnswersToo) {
  dir_.write(".env", "CAP_DAY_TOKENS=100000\n");
  start({});
  FcgiPeer peer = ask("[[sim events=100000 interval=1 batch=5 hold=20]]");
  await_part(peer, "tok20 ");
  dir_.write(".env", "CAP_DAY_TOKENS=100\n");
  responder_->process().signal(SIGHUP);
  EXPECT_TRUE(responder_->logs(R"("event":"reloaded")"));
  simulator_.release();
  EXPECT_TRUE(is_used_up(peer.read_reply().response));
  EXPECT_LE(settled().spent, 100 + 2 * kSlice);
}

// --- pause, and a ledger that cannot be used ---

TEST_F(Caps, APauseRefusesInTheOwnersWordsAndTheProfileSaysOffline) {
  const std::string profile =
      R"({"botStatus":1,"StartUpMessage":"","fontSize":"16","userAvatarURL":"u","botImageURL":"b","commonButtons":[]})";
  start({{"BOT_CONFIG_FILE", dir_.write("bot.json", profile)}});
  const Response online = get(kConfigPath);
  EXPECT_EQ(number_at(online.json(), "/botStatus"), 1);
  FcgiPeer open = ask("[[sim events=3 hold=1]]");
  await_part(open, "tok1 ");
  EXPECT_EQ(run(responder_command(dir_, settings_, {"pause", "--message", "周一再来"})).exit_code, 0);
  const Response refused = answer("[[sim events=1]]");
  expect_error(refused, 503, "paused", "周一再来");
  EXPECT_EQ(refused.headers.get("x-should-retry"), "false");
  EXPECT_EQ(refused.headers.count("Retry-After"), 0U);
  const Response offline = get(kConfigPath);
  EXPECT_EQ(number_at(offline.json(), "/botStatus"), 0);
  EXPECT_NE(offline.headers.get("ETag"), online.headers.get("ETag"));
  EXPECT_EQ(get(kReadyPath).status, 200);
  simulator_.release();
  EXPECT_TRUE(is_complete(open.read_reply().response)) << "open answers run on";
  EXPECT_EQ(run(responder_command(dir_, settings_, {"resume"})).exit_code, 0);
  EXPECT_TRUE(is_complete(answer("[[sim events=1]]")));
  EXPECT_EQ(get(kConfigPath).headers.get("ETag"), online.headers.get("ETag"));
}

TEST_F(Caps, APauseAtOnceEndsOpenAnswersAtTheirNextFrame) {
  start({});
  FcgiPeer open = ask("[[sim events=3 hold=1]]");
  await_part(open, "tok1 ");
  EXPECT_EQ(run(responder_command(dir_, settings_, {"pause", "--now"})).exit_code, 0);
  simulator_.release();
  EXPECT_NE(open.read_reply().response.body.find(R"("code":"paused")"), std::string::npos);
}

TEST_F(Caps, APauseAtOnceEndsOpenAnswersWhoseUpstreamIsSilent) {
  start({{"WORKERS", "2"}});
  std::deque<FcgiPeer> unasked;
  for (const char* path : {kStreamPath, kChatPath}) unasked.push_back(ask("[[sim events=3 hold=0]]", path));
  FcgiPeer stream = ask("[[sim events=3 hold=2]]");
  await_part(stream, "tok2 ");
  FcgiPeer whole = ask("[[sim events=3 hold=2]]", kChatPath);
  ASSERT_TRUE(simulator_.reaches("output_tokens", 4));
  ASSERT_TRUE(simulator_.reaches("requests", 4));
  EXPECT_EQ(run(responder_command(dir_, settings_, {"pause", "--now", "--message", "周一再来"})).exit_code,
            0);

  for (FcgiPeer& peer : unasked) expect_error(peer.read_reply().response, 503, "paused", "周一再来");
  const Response cut = stream.read_reply().response;
  EXPECT_EQ(cut.status, 200);
  EXPECT_NE(cut.body.find(R"("code":"paused")"), std::string::npos) << cut.body;
  EXPECT_NE(cut.body.find(R"("finished":true)"), std::string::npos) << cut.body;
  const Response truncated = whole.read_reply().response;
  EXPECT_EQ(truncated.status, 200);
  EXPECT_TRUE(bool_at(truncated.json(), "/truncated"));
  EXPECT_EQ(text_at(truncated.json(), "/code"), "paused");
  EXPECT_EQ(text_at(truncated.json(), "/result"), "tok1 tok2 ");
  EXPECT_TRUE(simulator_.falls_to("open", 0));
  EXPECT_EQ(simulator_.count("cut"), 4);
  EXPECT_EQ(settled().spent, simulator_.billed());
}

TEST_F(Caps, ThatCannotBeCheckedRefuseAndTheServiceIsNotReady) {
  start({{"CAP_DAY_TOKENS", "100000"}, {"LEDGER", "/proc/none/ledger"}});
  const Response refused = answer("[[sim events=1]]");
  expect_error(refused, 503, "budget_unknown", "The budget cannot be checked");
  EXPECT_EQ(refused.headers.get("x-should-retry"), "false");
  EXPECT_EQ(get(kReadyPath).status, 503);
  EXPECT_EQ(get(kHealthPath).status, 200);
  EXPECT_EQ(simulator_.count("requests"), 0);
}

TEST_F(Caps, ThatCannotBeCheckedMayServe) {
  start({{"CAP_DAY_TOKENS", "100000"}, {"LEDGER", "/proc/none/ledger"}, {"CAPS_ON_FAULT", "open"}});
  EXPECT_TRUE(is_complete(answer("[[sim events=1]]")));
  EXPECT_EQ(get(kReadyPath).status, 200);
}

TEST_F(Caps, WithoutAnyALedgerThatCannotBeUsedIsNoReasonToRefuse) {
  start({{"LEDGER", "/proc/none/ledger"}});
  EXPECT_TRUE(is_complete(answer("[[sim events=1]]")));
  EXPECT_EQ(get(kReadyPath).status, 200);
}

TEST_F(Caps, CheckNamesALedgerThatCannotBeWrittenOrIsNone) {
  Settings settings = {{"LEDGER", dir_.path() + "/none/ledger"}};
  settings.merge(site_settings(dir_, simulator_));
  EXPECT_EQ(run(responder_command(dir_, settings, {"check"})).err.find("LEDGER"), std::string::npos);
  settings["CAP_DAY_TOKENS"] = "100000";
  const Finished missing = run(responder_command(dir_, settings, {"check"}));
  EXPECT_EQ(missing.exit_code, 0);
  EXPECT_NE(missing.err.find("warning: LEDGER: " + dir_.path() +
                             "/none is not there, or cannot be written: no "
                             "chat is served"),
            std::string::npos)
      << missing.err;
  settings["LEDGER"] = dir_.write("foreign", std::string(100'000, 'x'));
  const Finished foreign = run(responder_command(dir_, settings, {"check"}));
  EXPECT_EQ(foreign.exit_code, 78);
  EXPECT_NE(foreign.err.find(settings["LEDGER"]), std::string::npos) << foreign.err;
  settings["LEDGER"] = dir_.path() + "/ledger";
  EXPECT_EQ(run(responder_command(dir_, settings, {"check"})).err.find("LEDGER"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir_.path() + "/ledger")) << "it writes nothing";
}

TEST_F(Caps, AFileThatIsNoLedgerStopsTheStartAndStaysAsItIs) {
  const std::string foreign = dir_.write("foreign", std::string(100'000, 'x'));
  settings_ = {{"LEDGER", foreign}};
  settings_.merge(site_settings(dir_, simulator_));
  const Finished finished = run(responder_command(dir_, settings_));
  EXPECT_EQ(finished.exit_code, 78) << finished.err;
  EXPECT_NE(finished.err.find(foreign), std::string::npos) << finished.err;
  EXPECT_EQ(std::filesystem::file_size(foreign), 100'000U);
}

}  // namespace
}  // namespace bailian::e2e
