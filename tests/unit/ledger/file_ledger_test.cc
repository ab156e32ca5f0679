#include "ledger/file_ledger.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "unit/ledger/file_ledger_fixture.h"

namespace bailian {
namespace {

TEST_F(FileLedgers, CountWhatAnAnswerUsed) {
  answer(1200, 34);
  for (const char* const bot : {"default", ""}) {
    const BotReport of_bot = report(bot);
    ASSERT_EQ(of_bot.days.size(), 1u);
    EXPECT_EQ(of_bot.days[0].spent.input_tokens, 1200u);
    EXPECT_EQ(of_bot.days[0].spent.output_tokens, 34u);
    EXPECT_EQ(of_bot.days[0].spent.estimated_tokens, 0u);
    EXPECT_EQ(of_bot.days[0].spent.answers, 1u);
    EXPECT_EQ(of_bot.month.tokens(), 1234u);
    EXPECT_EQ(of_bot.open_leases, 0u);
    EXPECT_EQ(of_bot.caps.at(0).used, 1234u);
    EXPECT_EQ(of_bot.caps.at(0).leased, 0u);
    EXPECT_EQ(of_bot.caps.at(1).used, 1234u);
  }
}

TEST_F(FileLedgers, KeepTheirCountsOverARestart) {
  answer(1200, 34);
  ledger.reset();
  EXPECT_EQ(used(), 1234u);
}

// --- caps

TEST_F(FileLedgers, AnswerAsOftenAsTheCapPaysForOneAfterTheOther) {
  config.caps.day = 25 * 1234;
  config.cap_expected_input = 1200;
  for (int i = 0; i < 25; ++i) {
    const auto taken = lease();
    ASSERT_TRUE(taken) << i;
    for (uint64_t output = 1; output <= 34; ++output) ASSERT_TRUE(taken->settle({1200, output})) << i;
    taken->finish();
  }
  EXPECT_EQ(used(), 25u * 1234);
  const Refusal refusal = refused();
  EXPECT_EQ(refusal.cause, Refusal::Cause::kUsedUp);
  EXPECT_GT(refusal.retry_after.count(), 0);
  EXPECT_LE(refusal.retry_after.count(), 25 * 3600 + 1);
}

TEST_F(FileLedgers, LearnWhatTheUpstreamAddsToAQuestion) {
  config.caps.day = 3000;
  answer(1210, 20);  // of a question of 10 tokens: 1200 were added
  const uint64_t left = 3000 - 1230;
  EXPECT_EQ(refused(3 * (left - 1200 + 1)).cause, Refusal::Cause::kUsedUp);
  EXPECT_TRUE(lease(3 * (left - 1200)));
  open();
  EXPECT_EQ(refused(3 * (left - 1200 + 1)).cause, Refusal::Cause::kUsedUp) << "it survives a restart";
}

TEST_F(FileLedgers, ExpectTheLargestInputOfTheLast32Answers) {
  config.caps.day = 1'000'000;
  answer(5010, 1);
  for (int i = 0; i < 31; ++i) answer(110, 1);
  EXPECT_EQ(refused(3 * (1'000'000 - used() - 5000 + 1)).cause, Refusal::Cause::kUsedUp);
  answer(110, 1);
  EXPECT_TRUE(lease(3 * (1'000'000 - used() - 5000 + 1)));
}

TEST_F(FileLedgers, RememberTheInputOfAnswersThatWereNotFinished) {
  config.caps.day = 2300;
  config.cap_expected_input = 1000;
  (void)lease()->settle({1210, 1});
  EXPECT_EQ(refused(30).cause, Refusal::Cause::kUsedUp) << "1200 and 10 do not fit in 1089";
}

TEST_F(FileLedgers, KeepTheCapWhenAThousandStreamsOfNoHistoryBeginAtOnce) {
  struct Stream {
    std::unique_ptr<Lease> lease;
    Usage usage;
  };
  for (const uint64_t paid_for : {50, 60}) {
    config.caps.day = paid_for * 1500;
    config.ledger = folder.ledger() + std::to_string(paid_for);
    open();
    std::vector<Stream> streams;
    for (int i = 0; i < 500; ++i) {
      auto taken = take();
      if (auto* const got = std::get_if<std::unique_ptr<Lease>>(&taken))
        streams.push_back({std::move(*got), {}});
    }
    EXPECT_GT(streams.size(), 25u);
    const size_t begun = streams.size();
    uint64_t billed = 0;
    while (!streams.empty()) {
      for (Stream& stream : streams) {
        stream.usage = {1200, stream.usage.output_tokens + 7};
        if (stream.lease->settle(stream.usage) && stream.usage.output_tokens < 300) continue;
        billed += stream.usage.input_tokens + stream.usage.output_tokens;
        stream.lease.reset();
      }
      std::erase_if(streams, [](const Stream& stream) { return !stream.lease; });
    }
    EXPECT_LE(billed, *config.caps.day + begun * 7) << "a frame for each";
    EXPECT_EQ(used(), billed);
    EXPECT_EQ(report().caps.at(0).leased, 0u);
  }
}

TEST_F(FileLedgers, RefuseNobodyWhileAnExpectedInputFits) {
  config.caps.day = 100'000;
  config.cap_expected_input = 1000;
  open();
  std::vector<std::unique_ptr<Lease>> leases;
  for (;;) {
    const CapState cap = report().caps.at(0);
    const uint64_t room = *cap.limit - cap.used - cap.leased;
    auto taken = take(0);
    if (auto* const got = std::get_if<std::unique_ptr<Lease>>(&taken)) {
      EXPECT_GE(room, 1000u);
      leases.push_back(std::move(*got));
      continue;
    }
    EXPECT_LT(room, 1000u);
    break;
  }
  EXPECT_GT(leases.size(), 60u);
}

TEST_F(FileLedgers, RefuseEverythingWithACapOfZero) {
  config.caps.day = 0;
  EXPECT_EQ(refused().cause, Refusal::Cause::kUsedUp);
  EXPECT_EQ(refused().retry_after.count(), 0) << "no period ends it";
  ASSERT_TRUE(ledger->closed("default"));
  EXPECT_EQ(ledger->closed("default")->retry_after.count(), 0);
}

TEST_F(FileLedgers, NameTheCapThatEndsLast) {
  config.caps = {.day = 100, .month = 100, .visitor_day = 100};
  const auto left = refused().retry_after;
  config.caps.month.reset();
  open();
  EXPECT_LE(refused().retry_after.count(), 25 * 3600 + 1);
  EXPECT_GE(left, refused().retry_after);
  EXPECT_EQ(refused().cause, Refusal::Cause::kUsedUp);
}

TEST_F(FileLedgers, CountEachBotAndAllTogether) {
  config.bots.resize(1);
  config.bots[0].name = "shop";
  config.bots[0].caps.day = 10'000;
  config.total_caps.day = 20'000;
  open();
  answer(7000, 1000, "shop");
  EXPECT_EQ(refused(6000, "", "shop").cause, Refusal::Cause::kUsedUp);
  EXPECT_TRUE(lease(6000, "", "default")) << "it has no cap of its own";
  answer(10'000, 0, "default");
  EXPECT_EQ(refused(30, "", "default").cause, Refusal::Cause::kUsedUp) << "but all have one";
  EXPECT_EQ(used("shop"), 8000u);
  EXPECT_EQ(used("default"), 10'000u);
  EXPECT_EQ(used(""), 18'000u);
}

TEST_F(FileLedgers, GiveEachVisitorHisOwnCap) {
  config.caps.visitor_day = 5000;
  answer(4000, 500);
  EXPECT_EQ(refused().cause, Refusal::Cause::kVisitorUsedUp);
  EXPECT_EQ(refused(30, "::ffff:192.0.2.1").cause, Refusal::Cause::kVisitorUsedUp);
  EXPECT_TRUE(lease(30, "192.0.2.2"));
  EXPECT_TRUE(lease(30, "")) << "a question that is no visitor's";
  answer(4000, 500, "default", "2001:db8::1");
  EXPECT_EQ(refused(30, "2001:db8::ffff:1").cause, Refusal::Cause::kVisitorUsedUp);
  EXPECT_TRUE(lease(30, "2001:db8:0:1::1"));
  open();
  EXPECT_EQ(refused().cause, Refusal::Cause::kVisitorUsedUp) << "over a restart";
  for (const CapState& cap : report().caps) {
    EXPECT_EQ(cap.has_refused, cap.scope == "visitor") << cap.scope << cap.period;
  }
}

TEST_F(FileLedgers, ObeyCapsThatAReloadChanges) {
  config.caps.day = 100'000;
  const auto running = lease();
  ASSERT_TRUE(running->settle({1000, 10}));
  config.caps.day = 1100;
  ledger->apply(config);
  EXPECT_EQ(refused().cause, Refusal::Cause::kUsedUp);
  uint64_t output = 10;
  while (output < 10'000 && running->settle({1000, output})) ++output;
  EXPECT_LT(output, 1500u) << "at its next slice";
  EXPECT_EQ(running->refusal().cause, Refusal::Cause::kUsedUp);
  config.caps.day.reset();
  ledger->apply(config);
  EXPECT_TRUE(running->settle({1000, output + 1}));
  EXPECT_TRUE(lease());
  EXPECT_EQ(report().caps.at(0).limit, std::nullopt);
}

TEST_F(FileLedgers, SayWhetherABotIsClosedWhateverTheQuestion) {
  config.caps.day = 3000;
  config.cap_expected_input = 1000;
  open();
  EXPECT_FALSE(ledger->closed("default"));
  answer(1010, 1000);
  EXPECT_TRUE(ledger->closed("default")) << "990 are left, and 1000 are added to each question";
  EXPECT_EQ(refused(0).cause, Refusal::Cause::kUsedUp);
}

// --- what an answer costs

TEST_F(FileLedgers, GiveBackAWholeLeaseWhenNothingCameBack) {
  lease();
  EXPECT_EQ(used(), 0u);
  EXPECT_EQ(report().caps.at(0).leased, 0u);
}

TEST_F(FileLedgers, CountEachAttemptFromZero) {
  auto taken = lease();
  EXPECT_TRUE(taken->settle({1000, 50}));
  taken->start_next_attempt();
  EXPECT_TRUE(taken->settle({1000, 10}));
  EXPECT_TRUE(taken->settle({1000, 70}));
  taken->start_next_attempt();  // nothing came back
  taken.reset();
  EXPECT_EQ(used(), 2120u);
  EXPECT_EQ(report().days.at(0).spent.output_tokens, 120u);
}

TEST_F(FileLedgers, TakeTheFrameThatFinishesAnAnswer) {
  config.caps.day = 3000;
  auto taken = lease();
  EXPECT_FALSE(taken->settle({4000, 500}));
  taken->finish();
  taken.reset();
  EXPECT_EQ(used(), 4500u);
  EXPECT_EQ(report().days.at(0).spent.answers, 1u);
}

TEST_F(FileLedgers, LetUsageOnlyGrow) {
  auto taken = lease();
  EXPECT_TRUE(taken->settle({1000, 50}));
  EXPECT_TRUE(taken->settle({10, 0}));
  EXPECT_TRUE(taken->settle({0, 60}));
  taken.reset();
  EXPECT_EQ(used(), 1060u);
}

TEST_F(FileLedgers, SurviveUsageOfAnySize) {
  constexpr uint64_t kHuge = ~uint64_t{0};
  config.caps.day = 100'000;
  auto taken = lease();
  EXPECT_FALSE(taken->settle({kHuge, kHuge}));
  EXPECT_FALSE(taken->settle({kHuge, 1}));
  taken->start_next_attempt();
  EXPECT_FALSE(taken->settle({kHuge / 2, kHuge}));
  EXPECT_FALSE(taken->settle_estimate(kHuge));
  taken.reset();
  EXPECT_EQ(used(), 4'000'000'000u) << "a billion for each number";
  EXPECT_EQ(refused(kHuge).cause, Refusal::Cause::kUsedUp);
}

TEST_F(FileLedgers, EstimateWithoutUsageUntilTheLastFrame) {
  config.cap_expected_input = 1000;
  auto taken = lease(300);
  EXPECT_TRUE(taken->settle_estimate(90));
  EXPECT_TRUE(taken->settle_estimate(600));
  EXPECT_EQ(report().days.at(0).spent.estimated_tokens, 1100u + 200);
  EXPECT_TRUE(taken->settle({700, 80}));
  EXPECT_TRUE(taken->settle_estimate(9000)) << "it has usage, which counts";
  taken.reset();
  const Spent spent = report().days.at(0).spent;
  EXPECT_EQ(spent.estimated_tokens, 0u);
  EXPECT_EQ(spent.tokens(), 780u);
  EXPECT_EQ(used(), 780u);
}

TEST_F(FileLedgers, KeepAnEstimateWhenNoUsageComes) {
  config.cap_expected_input = 1000;
  lease(0)->settle_estimate(600) ? void() : ADD_FAILURE();
  EXPECT_EQ(report().days.at(0).spent.estimated_tokens, 1200u);
  EXPECT_EQ(used(), 1200u);
}

TEST_F(FileLedgers, CountTheUsageLastSeenOfAVisitorWhoLeft) {
  auto taken = lease();
  EXPECT_TRUE(taken->settle({1000, 50}));
  taken->abandon();
  taken.reset();
  EXPECT_EQ(used(), 1050u);
}

TEST_F(FileLedgers, CountTheWholeLeaseOfAVisitorWhoLeftAtTheWorst) {
  config.cap_on_abort_worst = true;
  auto taken = lease();
  EXPECT_TRUE(taken->settle({1000, 50}));
  const CapState before = report().caps.at(0);
  EXPECT_GE(before.leased, 256u);
  taken->abandon();
  taken.reset();
  EXPECT_EQ(used(), before.used + before.leased);
  EXPECT_EQ(report().days.at(0).spent.estimated_tokens, before.leased);

  auto finished = lease();
  EXPECT_TRUE(finished->settle({1000, 50}));
  finished->finish();
  finished->abandon();
  finished.reset();
  EXPECT_EQ(used(), before.used + before.leased + 1050) << "a finished answer costs what it used";
}

TEST_F(FileLedgers, CountCachedAndRefusedQuestions) {
  open();
  ledger->count_cached("default");
  ledger->count_refused("default", Refusal::Cause::kUsedUp);
  ledger->count_refused("default", Refusal::Cause::kVisitorUsedUp);
  ledger->count_refused("default", Refusal::Cause::kPaused);
  ledger->count_refused("nobody", Refusal::Cause::kUsedUp);
  for (const char* const bot : {"default", ""}) {
    EXPECT_EQ(report(bot).days.at(0).spent.cached, 1u);
    EXPECT_EQ(report(bot).days.at(0).spent.refused, 2u);
  }
}

// --- pauses

TEST_F(FileLedgers, RefuseAQuestionThatAnotherProcessIsAnswering) {
  open();
  FileLedger second(config);  // as another process
  const auto ask = [this](FileLedger& asked, std::string_view key) -> std::unique_ptr<Lease> {
    auto taken = asked.take(
        loop, {.bot = "default", .visitor = "", .question_bytes = 30, .idempotency_id = key}, handler);
    if (const auto* const refusal = std::get_if<Refusal>(&taken)) {
      EXPECT_EQ(refusal->cause, Refusal::Cause::kUnderWay);
      EXPECT_EQ(refusal->retry_after, std::chrono::seconds(1));
      asked.count_refused("default", refusal->cause);
      return nullptr;
    }
    return std::move(std::get<std::unique_ptr<Lease>>(taken));
  };
  auto under_way = ask(*ledger, "default 192.0.2.1 k");
  ASSERT_TRUE(under_way);
  (void)under_way->settle({100, 20});
  const uint64_t granted = report().caps.at(0).leased;
  EXPECT_FALSE(ask(second, "default 192.0.2.1 k"));
  EXPECT_EQ(report().open_leases, 1u);
  EXPECT_EQ(report().caps.at(0).leased, granted) << "nothing is kept for a refused question";
  EXPECT_EQ(report().days.at(0).spent.refused, 0u) << "by no cap";
  EXPECT_TRUE(ask(second, "default 192.0.2.2 k"));
  EXPECT_TRUE(ask(second, ""));
  EXPECT_TRUE(ask(*ledger, "default 192.0.2.1 k")) << "its own process knows more";

  under_way.reset();
  under_way = ask(second, "default 192.0.2.1 k");
  EXPECT_TRUE(under_way);
  EXPECT_FALSE(ask(*ledger, "default 192.0.2.1 k"));
  under_way.reset();
  under_way = ask(second, "");
  EXPECT_TRUE(ask(*ledger, "default 192.0.2.1 k")) << "the slot has no key now";
}

TEST_F(FileLedgers, NoteNoRefusalByACapOfAQuestionThatAnotherProcessIsAnswering) {
  config.caps.day = 1000;
  config.cap_expected_input = 800;
  open();
  FileLedger second(config);
  const auto ask = [this](FileLedger& asked) {
    return asked.take(loop, {.bot = "default", .visitor = "", .question_bytes = 30, .idempotency_id = "k"},
                      handler);
  };
  const auto under_way = ask(*ledger);
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Lease>>(under_way));
  EXPECT_EQ(std::get<Refusal>(ask(second)).cause, Refusal::Cause::kUnderWay);
  EXPECT_FALSE(report().caps.at(0).has_refused) << "the owner would be alerted";
  EXPECT_EQ(refused().cause, Refusal::Cause::kUsedUp);
  EXPECT_TRUE(report().caps.at(0).has_refused);
}

TEST_F(FileLedgers, LetNoTwoProcessesAnswerOneKey) {
  open();
  FileLedger second(config);
  for (int i = 0; i < 500; ++i) {
    const std::string key = "default 192.0.2.1 " + std::to_string(i);
    std::array<std::unique_ptr<Lease>, 2> leases;
    std::atomic<int> ready{0};
    const auto ask = [&](FileLedger& asked, std::unique_ptr<Lease>& lease) {
      EventLoop own_loop{std::chrono::nanoseconds(0)};
      ++ready;
      while (ready < 2) std::this_thread::yield();
      auto taken = asked.take(
          own_loop, {.bot = "default", .visitor = "", .question_bytes = 30, .idempotency_id = key}, handler);
      if (auto* const given = std::get_if<std::unique_ptr<Lease>>(&taken)) lease = std::move(*given);
    };
    std::thread other(ask, std::ref(second), std::ref(leases[1]));
    ask(*ledger, leases[0]);
    other.join();
    ASSERT_FALSE(leases[0] && leases[1]);
  }
}

TEST_F(FileLedgers, RefuseWhatIsPausedWithTheOwnersWords) {
  config.bots.resize(1);
  config.bots[0].name = "shop";
  open();
  const auto running = lease();
  ledger->pause("default", "back at noon, 正午", false);
  EXPECT_EQ(refused().cause, Refusal::Cause::kPaused);
  EXPECT_EQ(refused().message, "back at noon, 正午");
  EXPECT_EQ(ledger->closed("default")->message, "back at noon, 正午");
  EXPECT_TRUE(running->settle({1000, 1})) << "open answers run on";
  EXPECT_TRUE(lease(30, "", "shop"));
  EXPECT_TRUE(report().is_paused);
  EXPECT_EQ(report().pause_message, "back at noon, 正午");
  ledger->apply(config);
  EXPECT_EQ(refused().cause, Refusal::Cause::kPaused) << "over a reload";
  ledger->resume("default");
  EXPECT_TRUE(lease());
  EXPECT_FALSE(report().is_paused);
}

TEST_F(FileLedgers, KeepAPauseOverARestart) {
  open();
  ledger->pause("", "closed", false);
  open();
  EXPECT_EQ(refused().message, "closed");
  ledger->resume("");
  open();
  EXPECT_TRUE(lease());
}

TEST_F(FileLedgers, EndOpenAnswersOfWhatIsPausedAtOnce) {
  config.bots.resize(1);
  config.bots[0].name = "shop";
  open();
  const auto running = lease();
  const auto other = lease(30, "", "shop");
  ledger->pause("shop", "open answers run on", false);
  EXPECT_FALSE(other->is_paused());
  ledger->pause("shop", "closed", true);
  EXPECT_FALSE(running->is_paused());
  EXPECT_TRUE(running->settle({1000, 1}));
  EXPECT_TRUE(other->is_paused()) << "without a frame";
  EXPECT_FALSE(other->settle({1000, 1}));
  EXPECT_TRUE(other->is_paused());
  EXPECT_EQ(other->refusal().cause, Refusal::Cause::kPaused);
  EXPECT_EQ(other->refusal().message, "closed");
  ledger->pause("", "all closed", true);
  EXPECT_FALSE(running->settle({1000, 2}));
  EXPECT_TRUE(running->is_paused());
  EXPECT_EQ(running->refusal().message, "all closed");
}

TEST_F(FileLedgers, CutALongPauseMessageBetweenCharacters) {
  open();
  std::string message;
  while (message.size() <= kMaxPauseMessageBytes) message += "停";
  ledger->pause("", message, false);
  EXPECT_EQ(refused().message, message.substr(0, kMaxPauseMessageBytes / 3 * 3));
}

// --- alerts, reports

TEST_F(FileLedgers, NoteEachAlertOnce) {
  open();
  EXPECT_TRUE(ledger->note_alert("default", "day", 80));
  EXPECT_FALSE(ledger->note_alert("default", "day", 80));
  EXPECT_EQ(report().caps.at(0).alerted_percent, 80);
  EXPECT_EQ(report().caps.at(1).alerted_percent, 0);
  EXPECT_TRUE(ledger->note_alert("default", "day", 100));
  EXPECT_FALSE(ledger->note_alert("default", "day", 80));
  EXPECT_TRUE(ledger->note_alert("default", "month", 100));
  EXPECT_TRUE(ledger->note_alert("", "day", 80));
  open();
  EXPECT_FALSE(ledger->note_alert("default", "day", 100)) << "over a restart";
}

TEST_F(FileLedgers, SayWhichCapsRefused) {
  config.caps.day = 100;
  config.total_caps.month = 100;
  refused();
  const std::map<std::string, bool> expected{{"bot day", true}, {"bot month", false}};
  for (const CapState& cap : report().caps)
    EXPECT_EQ(cap.has_refused, expected.at(cap.scope + " " + cap.period));
  EXPECT_FALSE(report("").caps.at(0).has_refused);
  EXPECT_TRUE(report("").caps.at(1).has_refused);
}

TEST_F(FileLedgers, AddMoneyByThePricesOfEachBot) {
  config.price_input = 2;
  config.price_output = 10;
  config.bots.resize(2);
  config.bots[0].name = "free";
  config.bots[1].name = "shop";
  config.bots[1].price_output = 100;
  open();
  answer(1'000'000, 1000);
  answer(1'000'000, 1000, "free");
  answer(1'000'000, 1000, "shop");
  EXPECT_DOUBLE_EQ(report().days.at(0).spent.money.value(), 2.01);
  EXPECT_FALSE(report("free").days.at(0).spent.money);
  EXPECT_DOUBLE_EQ(report("shop").month.money.value(), 0.1);
  EXPECT_DOUBLE_EQ(report("").days.at(0).spent.money.value(), 2.11);
  EXPECT_DOUBLE_EQ(report("").month.money.value(), 2.11);
}

TEST_F(FileLedgers, ShowOpenLeases) {
  const auto taken = lease();
  EXPECT_TRUE(taken->settle({1000, 10}));
  for (const char* const bot : {"default", ""}) {
    EXPECT_EQ(report(bot).open_leases, 1u);
    EXPECT_EQ(report(bot).caps.at(0).used, 1010u);
    EXPECT_GT(report(bot).caps.at(0).leased, 0u);
    EXPECT_EQ(report(bot).month.tokens(), 1010u);
  }
}

TEST_F(FileLedgers, HoldManyLeasesAtOnce) {
  std::vector<std::unique_ptr<Lease>> leases;
  for (int i = 0; i < 20'000; ++i) leases.push_back(lease(30, ""));
  EXPECT_EQ(report().open_leases, 20'000u);
  leases.clear();
  EXPECT_EQ(report().open_leases, 0u);
  EXPECT_EQ(report().caps.at(0).leased, 0u);
}

}  // namespace
}  // namespace bailian
