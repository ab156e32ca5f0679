#include "ledger/redis_ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "unit/ledger/redis_hosts.h"

namespace bailian {
namespace {

using RedisLedgerTest = RedisLedgers;

TEST_F(RedisLedgerTest, AnAnswerIsCountedWithWhatItUsed) {
  start();
  const auto ledger = join(with_day_cap(100'000));
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_EQ(counted("c|default"), 200 + kSlice)
      << "expected input and a slice are committed before it is asked";
  EXPECT_TRUE(answer.settle(150, 20));
  EXPECT_TRUE(answer.settle(150, 40));
  answer.finish();
  EXPECT_TRUE(comes_to("c|default", 190));
  EXPECT_EQ(counted("i|default"), 150U);
  EXPECT_EQ(counted("o|"), 40U);
  EXPECT_EQ(counted("a|"), 1U);

  ASSERT_TRUE(comes_true([&] { return ledger->report(1).bots.front().month.answers == 1; }));
  const LedgerReport report = ledger->report(1);
  ASSERT_EQ(report.bots.size(), 2U);
  EXPECT_EQ(report.bots[1].bot, "default");
  EXPECT_EQ(report.bots[1].days.front().spent.tokens(), 190U);
  EXPECT_EQ(report.bots[1].caps.front().used, 190U);
  EXPECT_EQ(report.bots[1].caps.front().limit, 100'000U);
}

TEST_F(RedisLedgerTest, AnAnswerWithoutACapIsNeverWaitedForAndIsCounted) {
  start();
  const auto ledger = join(config());
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_TRUE(answer.settle(10, 100'000));
  EXPECT_TRUE(comes_to("c|default", 100'010)) << "while it is open, once a second";
  answer.finish();
  EXPECT_TRUE(comes_to("a|default", 1));
}

TEST_F(RedisLedgerTest, NothingCameBackAndTheLeaseIsGivenBackWhole) {
  start();
  const auto ledger = join(with_day_cap(100'000));
  {
    TestAnswer answer(loop_, *ledger);
    ASSERT_TRUE(answer.is_leased());
  }
  EXPECT_TRUE(comes_to("c|default", 0));
  EXPECT_EQ(counted("a|default"), 0U);
}

TEST_F(RedisLedgerTest, ACapOfTwentyFiveAnswersPaysForTwentyFiveOnThreeHosts) {
  start();
  constexpr uint64_t kCost = 250;
  const Config limited = with_day_cap(25 * kCost);
  std::vector<std::unique_ptr<RedisLedger>> hosts;
  for (int i = 0; i < 3; ++i) hosts.push_back(join(limited));
  for (size_t i = 0; i < 25; ++i) {
    TestAnswer answer(loop_, *hosts[i % 3]);
    ASSERT_TRUE(answer.is_leased()) << i;
    ASSERT_TRUE(answer.settle(200, 50)) << i;
    answer.finish();
    ASSERT_TRUE(comes_to("a|default", i + 1));
  }
  TestAnswer refused(loop_, *hosts[1]);
  ASSERT_FALSE(refused.is_leased());
  EXPECT_EQ(refused.taken().refusal->cause, Refusal::Cause::kUsedUp);
  EXPECT_GT(refused.taken().refusal->retry_after.count(), 0);
  EXPECT_LE(refused.taken().refusal->retry_after.count(), 86401);
  EXPECT_EQ(counted("c|default"), 25 * kCost);
  EXPECT_EQ(counted("x|default"), 1U);
}

TEST_F(RedisLedgerTest, ThreeHostsTogetherNeverExceedACapByMoreThanASliceForEachOpenAnswer) {
  start();
  constexpr uint64_t kInput = 200;
  constexpr uint64_t kOutput = 1000;
  constexpr uint64_t kRound = 50;
  static_assert(2 * kRound < kSlice);
  constexpr size_t kAnswers = 500;
  Config limited = config();
  limited.total_caps.day = 50 * (kInput + kOutput);
  std::vector<std::unique_ptr<RedisLedger>> hosts;
  for (int i = 0; i < 3; ++i) hosts.push_back(join(limited));

  std::deque<TestAnswer> answers;
  for (size_t i = 0; i < kAnswers; ++i) answers.emplace_back(loop_, *hosts[i % 3]);
  uint64_t billed = 0;
  size_t open = 0;
  std::vector<TestAnswer*> leased;
  for (auto& answer : answers) {
    if (answer.is_leased()) leased.push_back(&answer);
  }
  open = leased.size();
  EXPECT_GE(open, 50U);
  std::vector<uint64_t> outputs(leased.size());
  for (uint64_t output = kRound; output <= kOutput; output += kRound) {
    for (size_t i = 0; i < leased.size(); ++i) {
      if (leased[i] == nullptr) continue;
      outputs[i] = output;
      if (leased[i]->settle(kInput, output) && output < kOutput) continue;
      leased[i]->finish();
      leased[i] = nullptr;
    }
    // An order is answered with the batch that has this round, however slow the server is.
    for (const auto& host : hosts) host->resume("");
  }
  for (const uint64_t output : outputs) billed += kInput + output;
  EXPECT_LE(billed, *limited.total_caps.day + open * 2 * kRound) << "it hears of its end with its next round";
  EXPECT_GE(billed, *limited.total_caps.day - kInput - kOutput);
  EXPECT_TRUE(comes_to("c|", billed));
  EXPECT_EQ(counted("i|") + counted("o|"), billed);

  TestAnswer next(loop_, *hosts[0]);
  const uint64_t used = counted("c|");
  EXPECT_EQ(next.is_leased(), *limited.total_caps.day >= used + 300);
}

TEST_F(RedisLedgerTest, ManyAnswersNearACapLeaveAPlaceForAQuestionOfAnotherBot) {
  start();
  constexpr size_t kAnswers = 200;
  Config limited = config();
  limited.caps.day = kAnswers * (200 + kSlice);
  limited.bots.resize(1);
  limited.bots[0].name = "shop";
  limited.bots[0].caps.day = 10'000;
  const auto ledger = join(limited);
  std::deque<TestAnswer> answers;
  for (size_t i = 0; i < kAnswers; ++i) answers.emplace_back(loop_, *ledger);
  for (auto& answer : answers) ASSERT_TRUE(answer.is_leased());
  for (auto& answer : answers) ASSERT_TRUE(answer.settle(200, 400));
  // From now on all of them ask for more with each batch, and get nothing.
  ASSERT_TRUE(comes_to("i|default", 200 * kAnswers));
  EXPECT_TRUE(TestAnswer(loop_, *ledger, "shop").is_leased());
}

TEST_F(RedisLedgerTest, AnAnswerThatUsesMoreThanIsFreeHasToEnd) {
  start();
  const auto ledger = join(with_day_cap(1000));
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_TRUE(answer.settle(200, 700)) << "beyond the lease, and within the cap";
  EXPECT_TRUE(comes_true([&] { return counted("c|default") == 964; })) << "near the cap by 64 tokens";
  EXPECT_TRUE(comes_true([&] { return !answer.settle(200, 801); }));
  EXPECT_EQ(answer.refusal().cause, Refusal::Cause::kUsedUp);
  answer.finish();
  EXPECT_TRUE(comes_to("c|default", 1001)) << "what it used is counted all the same";
}

TEST_F(RedisLedgerTest, APauseAtOnceEndsAnAnswerThatMayUseNoMore) {
  start();
  Config limited = config();
  limited.caps.day = 1000;
  const auto ledger = join(limited);
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_TRUE(comes_true([&] { return !answer.settle(200, 801); }));
  EXPECT_FALSE(answer.is_paused()) << "its next frame ends it, unless that finishes it";
  ledger->pause("default", "", true);
  EXPECT_TRUE(comes_true([&] { return answer.is_paused(); }));
  EXPECT_EQ(answer.refusal().cause, Refusal::Cause::kPaused);
}

TEST_F(RedisLedgerTest, ALeaseIsExtendedAheadOfNeed) {
  start();
  const auto ledger = join(with_day_cap(1'000'000));
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_TRUE(answer.settle(200, kSlice / 2 + 1));
  EXPECT_TRUE(comes_to("c|default", 200 + kSlice / 2 + 1 + kSlice)) << "up to one slice beyond what is used";
}

TEST_F(RedisLedgerTest, AVisitorAtHisCapIsRefusedAndOthersAreNot) {
  start();
  Config limited = config();
  limited.caps.visitor_day = 1000;
  const auto ledger = join(limited);
  const auto use = [&](const char* visitor, uint64_t tokens) {
    TestAnswer answer(loop_, *ledger, "default", visitor);
    if (!answer.is_leased()) return answer.taken().refusal->cause == Refusal::Cause::kVisitorUsedUp;
    EXPECT_TRUE(answer.settle(200, tokens - 200));
    answer.finish();
    return false;
  };
  EXPECT_FALSE(use("10.0.0.1", 950));
  EXPECT_TRUE(use("10.0.0.1", 500));
  EXPECT_TRUE(use("::ffff:10.0.0.1", 500)) << "the same one";
  EXPECT_FALSE(use("10.0.0.2", 950));
  EXPECT_FALSE(use("2001:db8::1", 950));
  EXPECT_TRUE(use("2001:db8::2", 500)) << "the same /64";
  EXPECT_EQ(ledger->closed("default"), std::nullopt);
  const std::string fields = server_->ask(
      {"--raw", "EVAL", "return redis.call('HKEYS', redis.call('KEYS', '{bailian}:visitors:*')[1])", "0"});
  EXPECT_EQ(fields.find("10.0"), std::string::npos) << fields;
  EXPECT_EQ(std::count(fields.begin(), fields.end(), '\n'), 3) << "a key and three visitors: " << fields;
}

TEST_F(RedisLedgerTest, TheInputThatTheUpstreamAddsIsSharedByAllHosts) {
  start();
  const Config limited = with_day_cap(100'000);
  const auto first = join(limited);
  const auto second = join(limited);
  {
    TestAnswer answer(loop_, *first);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle(1300, 1));
    answer.finish();
  }
  ASSERT_TRUE(comes_to("c|default", 1301));
  EXPECT_TRUE(comes_true([&] {
    TestAnswer answer(loop_, *second);
    if (!answer.is_leased()) return false;
    return counted("c|default") == 1301 + 1300 + kSlice;
  }));
}

TEST_F(RedisLedgerTest, ALowerCapHoldsForOpenAnswersAtTheirNextSlice) {
  start();
  Config limited = with_day_cap(100'000);
  const auto ledger = join(limited);
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  limited.caps.day = 100;
  ledger->apply(limited);
  EXPECT_TRUE(answer.settle(200, 100));
  EXPECT_TRUE(comes_true([&] { return !answer.settle(200, kSlice + 1); }));
}

TEST_F(RedisLedgerTest, EstimatesCountAsSuchAndUsageReplacesThem) {
  start();
  const auto ledger = join(with_day_cap(100'000));
  {
    TestAnswer answer(loop_, *ledger);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle_estimate(300));
  }
  EXPECT_TRUE(comes_to("e|default", 300));
  {
    TestAnswer answer(loop_, *ledger);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle_estimate(300));
    EXPECT_TRUE(comes_to("e|default", 600));
    EXPECT_TRUE(answer.settle(70, 30));
  }
  EXPECT_TRUE(comes_to("c|default", 400));
  EXPECT_EQ(counted("e|default"), 300U);
}

TEST_F(RedisLedgerTest, EveryAttemptCounts) {
  start();
  const auto ledger = join(with_day_cap(100'000));
  {
    TestAnswer answer(loop_, *ledger);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle(100, 5));
    answer.next_attempt();
    EXPECT_TRUE(answer.settle(100, 7));
  }
  EXPECT_TRUE(comes_to("c|default", 212));
}

TEST_F(RedisLedgerTest, WithWorstAVisitorWhoLeavesCostsTheWholeLease) {
  start();
  Config limited = with_day_cap(100'000);
  limited.cap_on_abort_worst = true;
  const auto ledger = join(limited);
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_TRUE(answer.settle(200, 10));
  answer.leave();
  EXPECT_TRUE(comes_to("c|default", 200 + kSlice));
  EXPECT_EQ(counted("e|default"), kSlice - 10);
}

TEST_F(RedisLedgerTest, APauseIsSeenByAllHostsAndSurvivesThem) {
  start();
  auto first = join(config());
  const auto second = join(config());
  TestAnswer open(loop_, *second);
  ASSERT_TRUE(open.is_leased());
  first->pause("default", "back at nine", false);
  ASSERT_TRUE(comes_true([&] { return second->closed("default").has_value(); }));
  const auto refusal = second->closed("default");
  EXPECT_EQ(refusal->cause, Refusal::Cause::kPaused);
  EXPECT_EQ(refusal->message, "back at nine");
  EXPECT_FALSE(TestAnswer(loop_, *second).is_leased());
  EXPECT_TRUE(open.settle(10, 10)) << "open answers run on";

  EXPECT_FALSE(open.is_paused());

  first->pause("", "", true);
  EXPECT_TRUE(comes_true([&] { return open.is_paused(); })) << "unless it is at once";
  EXPECT_FALSE(open.settle(10, 20));
  EXPECT_EQ(open.refusal().cause, Refusal::Cause::kPaused);

  first.reset();
  first = join(config());
  EXPECT_TRUE(comes_true([&] { return first->closed("default").has_value(); }));
  first->resume("");
  EXPECT_TRUE(first->closed("default").has_value());
  first->resume("default");
  EXPECT_TRUE(comes_true([&] { return !second->closed("default"); }));
  EXPECT_TRUE(TestAnswer(loop_, *second).is_leased());
}

TEST_F(RedisLedgerTest, AnAlertIsNotedOnceByWhicheverHost) {
  start();
  const auto first = join(config());
  const auto second = join(config());
  EXPECT_TRUE(first->note_alert("default", "day", 80));
  EXPECT_FALSE(second->note_alert("default", "day", 80));
  EXPECT_FALSE(first->note_alert("default", "day", 80));
  EXPECT_TRUE(first->note_alert("default", "month", 80));
  EXPECT_TRUE(first->note_alert("default", "day", 100));
  EXPECT_TRUE(second->note_alert("", "day", 80));
  EXPECT_FALSE(first->note_alert("", "day", 80));
  EXPECT_TRUE(comes_true([&] { return second->report(1).bots[1].caps[0].alerted_percent == 100; }));
}

TEST_F(RedisLedgerTest, ADayThatAnotherHostHasBegunIsTheRunningOne) {
  start();
  const auto ledger = join(config());
  const Day today = *parse_compact_date(server_->ask({"HGET", "{bailian}:state", "day"}));
  ASSERT_EQ(server_->ask({"HSET", "{bailian}:state", "day", compact_date(today + 1)}), "0");
  EXPECT_TRUE(comes_true([&] { return ledger->report(1).day == date_text(today + 1); }));
  ledger->open_period();
  EXPECT_TRUE(comes_true([&] { return ledger->report(1).day == date_text(today); })) << "the owner's way out";
  const auto second = join(config());
  EXPECT_TRUE(comes_true([&] { return second->report(1).day == date_text(today); }));
}

TEST_F(RedisLedgerTest, EarlierDaysAreShownToACommand) {
  start();
  { const auto ledger = join(config()); }
  const Day today = *parse_compact_date(server_->ask({"HGET", "{bailian}:state", "day"}));
  server_->ask(
      {"HSET", "{bailian}:day:" + compact_date(today - 2), "i|default", "7", "o|default", "3", "i|", "7"});
  const RedisLedger command(config(), {.waits = true});
  const LedgerReport report = command.report(3);
  EXPECT_EQ(report.fault, "");
  ASSERT_EQ(report.bots.size(), 2U);
  ASSERT_EQ(report.bots[1].days.size(), 1U);
  EXPECT_EQ(report.bots[1].days[0].date, date_text(today - 2));
  EXPECT_EQ(report.bots[1].days[0].spent.tokens(), 10U);
  EXPECT_TRUE(command.report(2).bots[1].days.empty());
}

TEST_F(RedisLedgerTest, CachedAndRefusedOnesAreCounted) {
  start();
  const auto ledger = join(config());
  ledger->count_refused("default", Refusal::Cause::kUsedUp);
  ledger->count_refused("default", Refusal::Cause::kPaused);
  ledger->count_cached("default");
  EXPECT_TRUE(comes_to("h|default", 1));
  EXPECT_EQ(counted("r|default"), 1U);
  EXPECT_EQ(counted("r|"), 1U);
}

TEST_F(RedisLedgerTest, WhatIsNotSentYetIsSentBeforeTheEndAndTheHostLeavesNothing) {
  start();
  {
    const auto ledger = join(config());
    TestAnswer answer(loop_, *ledger);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle(10, 20));
    answer.finish();
  }
  EXPECT_EQ(counted("c|"), 30U);
  EXPECT_EQ(server_->ask({"HLEN", "{bailian}:hosts"}), "0");
  EXPECT_EQ(server_->ask({"ZCARD", "{bailian}:alive"}), "0");
}

TEST_F(RedisLedgerTest, EveryKeyIsInOneSlotAndEndsSomeDay) {
  start();
  Config limited = config();
  limited.caps.visitor_day = 100'000;
  const auto ledger = join(limited);
  TestAnswer answer(loop_, *ledger);
  ASSERT_TRUE(answer.is_leased());
  EXPECT_EQ(
      server_->ask(
          {"--raw", "EVAL",
           "local n = 0 for _, key in ipairs(redis.call('KEYS', '*')) do n = n + 1 "
           "if string.sub(key, 1, 10) ~= '{bailian}:' or redis.call('TTL', key) < 1 then return key end "
           "end return n > 5 and 'all' or 'none'",
           "0"}),
      "all");
}

TEST_F(RedisLedgerTest, TheScriptGrantsWhatTheFilesLedgerWould) {
  start();
  Config limited = config();
  const uint64_t expected = 200;
  for (const uint64_t room : {0,    1,    199,  200,  201,  230,    263,    264,    265,    300,
                              1000, 3000, 4224, 4225, 8000, 11'391, 11'392, 11'393, 20'000, 1'000'000}) {
    server_->ask({"FLUSHALL"});
    limited.caps.day = room;
    const auto ledger = join(limited);
    TestAnswer answer(loop_, *ledger);
    const uint64_t granted = answer.is_leased() ? counted("c|default") : 0;
    EXPECT_EQ(granted, lease_within(room, expected, kSlice)) << "with room for " << room;
  }
}

}  // namespace
}  // namespace bailian
