#include "ledger/table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ledger/bot_account.h"
#include "ledger/file_lease.h"
#include "ledger/visitors.h"
#include "unit/ledger/ledger_folder.h"

namespace bailian {
namespace {

constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kMorning = 1795744800;  // 2026-11-27 10:00 in Shanghai
constexpr Day kToday = 20784;

/// A table on a machine whose clock can be set.
struct Tables : testing::Test {
  LedgerFolder folder;
  std::unique_ptr<Table> table;
  TimeZone zone{"Asia/Shanghai"};
  ClockReading now{kMorning, 1000, {1, 2}};
  MeteredBot all;
  MeteredBot bot;
  LeasePolicy policy;

  void SetUp() override {
    bot.name = "shop";
    bot.expected_input = 1000;
    policy.slice = 512;
    open();
  }
  void open() {
    table.reset();
    table = std::make_unique<Table>(folder.ledger());
    const auto lock = table->lock();
    all.entry = table->find_or_add(lock, "");
    bot.entry = table->find_or_add(lock, "shop");
    table->advance(lock, now, zone);
  }
  void pass(int64_t seconds) {
    now.wall += seconds;
    now.boot += seconds;
    advance();
  }
  void advance() { table->advance(table->lock(), now, zone); }
  std::unique_ptr<FileLease> lease(std::string_view visitor = "192.0.2.1", std::string_view key = "") {
    auto lease = std::make_unique<FileLease>(*table, bot, all, policy, 0);
    return lease->open(visitor, key) ? nullptr : std::move(lease);
  }
  uint64_t committed(Day day) {
    const DaySlot* const slot = Table::account(*bot.entry, day).day;
    return slot == nullptr ? 0 : slot->committed.load();
  }
  uint64_t committed_in_month() { return Table::account(*bot.entry, table->day()).month->committed; }
};

TEST_F(Tables, GiveOneAllowanceForEachDay) {
  bot.day_cap = 1500;
  (void)lease()->settle({1000, 500});
  EXPECT_FALSE(lease());
  pass(14 * kHour - 1);
  EXPECT_FALSE(lease());
  pass(1);
  EXPECT_EQ(table->day(), kToday + 1);
  EXPECT_TRUE(lease());
  now.wall -= kDay;
  advance();
  (void)lease()->settle({1000, 500});
  EXPECT_FALSE(lease()) << "yesterday once more is today";
}

TEST_F(Tables, CountAnAnswerOverMidnightOnTheDayItBegan) {
  auto over_midnight = lease();
  ASSERT_TRUE(over_midnight->settle({1000, 1}));
  pass(14 * kHour);
  ASSERT_TRUE(over_midnight->settle({1000, 2000}));
  over_midnight->finish();
  over_midnight.reset();
  EXPECT_EQ(committed(kToday), 3000u);
  EXPECT_EQ(committed(kToday + 1), 0u);
  EXPECT_EQ(Table::account(*bot.entry, kToday).day->answers, 1u);
}

TEST_F(Tables, CountAnAnswerOverTheEndOfAMonthInTheMonthItBegan) {
  pass(3 * kDay);
  auto over_midnight = lease();
  ASSERT_TRUE(over_midnight->settle({1000, 1}));
  pass(14 * kHour);
  EXPECT_EQ(month_text(month_of(table->day())), "2026-12");
  EXPECT_EQ(committed_in_month(), 0u);
  ASSERT_TRUE(over_midnight->settle({1000, 2000}));
  over_midnight.reset();
  EXPECT_EQ(committed_in_month(), 0u);
  EXPECT_EQ(bot.entry.load()->months[static_cast<size_t>(month_of(kToday)) % kMonths].committed, 3000u);
}

TEST_F(Tables, AddTheDaysOfAMonth) {
  bot.month_cap = 3000;
  (void)lease()->settle({1000, 500});
  pass(kDay);
  (void)lease()->settle({1000, 500});
  EXPECT_EQ(committed_in_month(), 3000u);
  EXPECT_FALSE(lease());
  pass(2 * kDay);
  EXPECT_FALSE(lease());
  pass(14 * kHour);
  EXPECT_TRUE(lease());
}

TEST_F(Tables, KeepTheDayOverARestartWithTheClockSetBack) {
  pass(kDay);
  (void)lease()->settle({1000, 500});
  now.wall -= 3 * kDay;
  open();
  EXPECT_EQ(table->day(), kToday + 1);
  now.boot_id = {7, 7};
  now.boot = 3;
  open();
  EXPECT_EQ(table->day(), kToday + 1) << "also on another boot";
  EXPECT_EQ(committed(kToday + 1), 1500u);
}

TEST_F(Tables, HoldAJumpOverARestartOnTheSameBoot) {
  now.wall += 40 * kDay;
  now.boot += 5;
  open();
  EXPECT_EQ(table->day(), kToday);
  pass(kHoldSeconds - 1);
  open();
  EXPECT_EQ(table->day(), kToday);
  pass(1);
  EXPECT_EQ(table->day(), kToday + 40);
}

TEST_F(Tables, TakeDaysOffForWhatTheyAre) {
  now.wall += 40 * kDay;
  now.boot = 10;
  now.boot_id = {7, 7};
  open();
  EXPECT_EQ(table->day(), kToday + 40);
}

TEST_F(Tables, FindTheDayAgainAfterAWrongJump) {
  bot.day_cap = 1500;
  (void)lease()->settle({1000, 500});
  now.wall += 40 * kDay;
  advance();
  pass(kHoldSeconds);
  EXPECT_EQ(table->day(), kToday + 40);
  EXPECT_TRUE(lease());
  now.wall -= 40 * kDay;
  advance();
  EXPECT_EQ(table->day(), kToday + 40);
  table->open_period(table->lock(), now, zone);
  EXPECT_EQ(table->day(), kToday);
  EXPECT_FALSE(lease()) << "what was used that day still is";
}

TEST_F(Tables, ForgetADayAfter128) {
  (void)lease()->settle({1000, 500});
  for (int i = 0; i < 127; ++i) pass(kDay);
  EXPECT_EQ(committed(kToday), 1500u);
  pass(kDay);
  EXPECT_EQ(Table::account(*bot.entry, kToday).day, nullptr);
  EXPECT_EQ(committed(kToday + 128), 0u);
}

TEST_F(Tables, CloseALeaseThatIsOlderThanItsDaysTable) {
  auto old = lease();
  bot.visitor_day_cap = 100'000;
  auto of_visitor = lease();
  (void)of_visitor->settle({1000, 1});
  for (int i = 0; i < 130; ++i) pass(kDay);
  const auto today = lease();
  old.reset();
  of_visitor.reset();
  EXPECT_LE(committed(table->day()), 1512u);
}

TEST_F(Tables, GiveVisitorsANewKeyEveryDay) {
  const auto key = [&] {
    const VisitorTable& visitors = table->visitors(table->day());
    return std::pair(visitors.key[0].load(), visitors.key[1].load());
  };
  const auto first = key();
  open();
  EXPECT_EQ(key(), first) << "it survives a restart";
  pass(kDay);
  const auto second = key();
  pass(kDay);
  EXPECT_NE(key(), first) << "it is overwritten by that of the day after the next";
  EXPECT_NE(second, first);
}

TEST_F(Tables, BeginEachDayWithoutVisitors) {
  bot.visitor_day_cap = 1500;
  (void)lease()->settle({1000, 500});
  EXPECT_FALSE(lease());
  for (int i = 0; i < 3; ++i) {
    pass(kDay);
    (void)lease()->settle({1000, 500});
    EXPECT_FALSE(lease());
    EXPECT_TRUE(lease("192.0.2.2"));
  }
}

TEST_F(Tables, KeepACountForAVisitorOverMidnight) {
  bot.visitor_day_cap = 1512;
  auto over_midnight = lease();
  pass(14 * kHour);
  EXPECT_TRUE(lease()) << "a new day";
  EXPECT_TRUE(over_midnight->settle({1000, 512}));
  EXPECT_FALSE(over_midnight->settle({1000, 513})) << "of the old one nothing is left";
}

TEST_F(Tables, KnowTheKeyOfAnAnswerOverMidnight) {
  Table other(folder.ledger());
  for (int day = 0; day < 2; ++day) {
    auto over_midnight = lease("", "key");
    EXPECT_TRUE(other.is_under_way_elsewhere("key"));
    EXPECT_FALSE(other.is_under_way_elsewhere("another key"));
    pass(kDay);
    EXPECT_TRUE(other.is_under_way_elsewhere("key"));
    EXPECT_FALSE(table->is_under_way_elsewhere("key")) << "its own";
    over_midnight.reset();
    EXPECT_FALSE(other.is_under_way_elsewhere("key"));
  }
}

TEST_F(Tables, ForgetTheKeyOfAProcessThatHasDied) {
  auto other = std::make_unique<Table>(folder.ledger());
  LeaseSlot* const slot = other->acquire_slot();
  slot->key = hash_of_key(table->visitors(kToday), "key");
  slot->tag = LeaseTag{.entry = 1, .day = kToday}.word();
  EXPECT_TRUE(table->is_under_way_elsewhere("key"));
  other.reset();
  EXPECT_FALSE(table->is_under_way_elsewhere("key")) << "before it is swept";
  EXPECT_EQ(table->sweep(table->lock()).leases, 1u);
}

TEST_F(Tables, AddBotsUntilTheyAreFull) {
  const auto lock = table->lock();
  for (size_t i = 2; i < kEntries; ++i) ASSERT_TRUE(table->find_or_add(lock, "bot-" + std::to_string(i)));
  EXPECT_EQ(table->find_or_add(lock, "one-more"), nullptr);
  EXPECT_NE(table->find_or_add(lock, "bot-5"), nullptr);
  EXPECT_EQ(table->entries(), kEntries);
}

TEST_F(Tables, LetOnlyOneChangeThemAtATime) {
  Table other(folder.ledger());
  {
    const auto lock = table->lock();
    EXPECT_FALSE(table->try_lock());
    EXPECT_FALSE(other.try_lock());
  }
  EXPECT_TRUE(other.try_lock());
  EXPECT_FALSE(table->is_alone(table->lock()));
}

TEST_F(Tables, HaveOneWriterOfTheJournal) {
  auto other = std::make_unique<Table>(folder.ledger());
  EXPECT_TRUE(other->is_journal_writer());
  EXPECT_FALSE(table->is_journal_writer());
  other.reset();
  EXPECT_TRUE(table->is_journal_writer());
}

TEST_F(Tables, AreFullWhenAllSlotsAreTaken) {
  std::vector<LeaseSlot*> slots;
  while (LeaseSlot* const slot = table->acquire_slot()) slots.push_back(slot);
  EXPECT_EQ(slots.size(), kLeases);
  EXPECT_FALSE(lease());
  for (LeaseSlot* const slot : slots) table->release_slot(*slot);
  EXPECT_TRUE(lease());
}

TEST_F(Tables, SurviveAnyNumbersInTheFile) {
  constexpr uint64_t kHuge = ~uint64_t{0};
  bot.day_cap = 10'000;
  LeaseSlot* const slot = table->acquire_slot();
  for (Count* const count : {&slot->granted, &slot->input, &slot->output, &slot->estimated}) *count = kHuge;
  slot->tag = kHuge;
  LeaseSlot* const second = table->acquire_slot();
  for (Count* const count : {&second->granted, &second->input, &second->output, &second->estimated})
    *count = kHuge;
  second->tag = LeaseTag{.entry = 1, .day = kToday, .visitor = 0xffffff}.word();
  DaySlot& day = *Table::account(*bot.entry, kToday).day;
  day.answers = kHuge;
  open();  // takes the two for leases of a dead process
  table->reconcile(table->lock(), {});
  EXPECT_GE(committed(kToday), 10'000u);
  EXPECT_FALSE(lease()) << "too much is counted, not too little";
  bot.entry.load()->name.set(std::string(64, '\xff'));
  all.entry.load()->days[3].day = kHuge;
  (void)table->settled(kToday);
  table->reconcile(table->lock(), {});
}

}  // namespace
}  // namespace bailian
