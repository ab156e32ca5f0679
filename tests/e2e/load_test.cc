// Many at once, and slow ones beside fast ones.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "answer.h"
#include "site.h"

namespace bailian::e2e {
namespace {

constexpr int kMany = 200;

// Exchanges that are all under way before the first is read.
template <class Starter>
std::vector<Exchange> start(int count, Starter starter) {
  std::vector<Exchange> exchanges;
  exchanges.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) exchanges.push_back(starter(i));
  return exchanges;
}

// Each answer must be its own question's.
void expect_all_answered(Site& site, int count) {
  auto exchanges = start(count, [&](int i) {
    return site.stream("[[sim text=echo hold=1]] visitor " + std::to_string(i) + " 问题");
  });
  EXPECT_TRUE(site.simulator().reaches("held", count));
  site.simulator().release();
  for (int i = 0; i < count; ++i) {
    const auto answer = read_stream(exchanges[static_cast<size_t>(i)]);
    EXPECT_EQ(answer.text, "visitor " + std::to_string(i) + " 问题");
    EXPECT_TRUE(bool_at(answer.last, "/success"));
  }
  EXPECT_EQ(site.simulator().count("completed"), count);
}

TEST(Load, TwoHundredStreamsAtOnce) {
  Site site;
  expect_all_answered(site, kMany);
}

TEST(Load, TwoHundredStreamsOverTwoWorkers) {
  Site site({.settings = {{"WORKERS", "2"}}});
  expect_all_answered(site, kMany);
}

TEST(Load, TwoHundredWholeAnswersAtOnce) {
  Site site;
  auto exchanges = start(kMany, [&](int) { return site.chat("[[sim events=3 hold=0]]"); });
  EXPECT_TRUE(site.simulator().reaches("held", kMany));
  site.simulator().release();
  for (auto& exchange : exchanges) EXPECT_EQ(text_at(exchange.read_all().json(), "/result"), tokens(3));
}

TEST(Load, ABusyStreamOfManyTokensIsComplete) {
  Site site;
  auto exchanges = start(20, [&](int) { return site.stream("[[sim events=100 interval=2]]"); });
  for (auto& exchange : exchanges) EXPECT_EQ(read_stream(exchange).text, tokens(100));
}

class SlowReader : public testing::Test {
 protected:
  // Asks for more than all buffers between hold, and reads nothing.
  static Exchange ask_and_sleep(Site& site) { return site.stream("[[sim fault=flood]]"); }

  static void expect_served(Site& site) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(read_stream(site.stream("[[sim events=20]]")).text, tokens(20));
  }
};

TEST_F(SlowReader, DoesNotSlowTheOthersAndPausesItsUpstream) {
  Site site;
  auto sleeper = ask_and_sleep(site);
  EXPECT_EQ(sleeper.status(), 200);
  expect_served(site);
  EXPECT_EQ(site.simulator().count("completed"), 20);
  EXPECT_EQ(site.simulator().count("open"), 1);
  sleeper.close();
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

TEST_F(SlowReader, IsDroppedWhenItTakesNothingForTooLong) {
  Site site({.settings = {{"CLIENT_STALL_TIMEOUT", "1"}}});
  auto sleeper = ask_and_sleep(site);
  EXPECT_EQ(sleeper.status(), 200);
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
  expect_served(site);
}

int64_t peak_memory_kib(pid_t pid) {
  const auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  return std::stol(status.substr(status.find("VmHWM:") + 6));
}

TEST_F(SlowReader, CostsNoMoreMemoryThanItsBuffer) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
  Site site;
  expect_served(site);
  const auto pid = site.responder().process().pid();
  const auto before = peak_memory_kib(pid);
  std::vector<Exchange> sleepers;
  for (int i = 0; i < 10; ++i) {
    sleepers.push_back(ask_and_sleep(site));
    EXPECT_EQ(sleepers.back().status(), 200);
  }
  expect_served(site);
  EXPECT_EQ(site.simulator().count("open"), 10);
  EXPECT_LT(peak_memory_kib(pid) - before, 10 * 1024);  // 256 KiB each, and room for the allocator
}

TEST_F(SlowReader, MissesNothingOnceItReads) {
  Site site;
  auto sleeper = site.stream("[[sim events=30000 batch=100]]");
  EXPECT_EQ(sleeper.status(), 200);
  expect_served(site);
  const auto answer = read_stream(sleeper, Chunks::kMayCutEvents);
  EXPECT_EQ(answer.text, tokens(30000));
  EXPECT_TRUE(bool_at(answer.last, "/success"));
}

}  // namespace
}  // namespace bailian::e2e
