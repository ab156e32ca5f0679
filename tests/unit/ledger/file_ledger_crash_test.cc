// Several threads and processes on one ledger, and what is counted when they are killed.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "unit/ledger/file_ledger_fixture.h"

#if defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_TSAN GTEST_SKIP() << "ThreadSanitizer allows no threads after a fork"
#else
#define SKIP_UNDER_TSAN
#endif

namespace bailian {
namespace {

/// What processes report that may be killed, in memory that they share with the test.
struct Reports {
  std::atomic<uint64_t> billed{0};  // tokens, noted before the ledger is told
  std::atomic<uint64_t> begun{0};   // leases, noted before they are taken
  std::atomic<uint64_t> ended{0};   // and after they have ended
  std::atomic<uint64_t> refused{0};
};

class SharedReports {
 public:
  SharedReports()
      : memory_(::mmap(nullptr, sizeof(Reports), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    new (memory_) Reports;
  }
  ~SharedReports() { ::munmap(memory_, sizeof(Reports)); }
  Reports* operator->() { return static_cast<Reports*>(memory_); }
  Reports& operator*() { return *static_cast<Reports*>(memory_); }

 private:
  void* memory_;
};

/// Visitors who ask, read a while and leave, `answers` times.
void ask(FileLedger& ledger, Reports& reports, unsigned seed, uint64_t answers) {
  std::minstd_rand random(seed);
  EventLoop loop{std::chrono::nanoseconds(0)};
  NoHandler handler;
  std::vector<std::pair<std::unique_ptr<Lease>, Usage>> open(8);
  for (uint64_t i = 0; i < answers;) {
    auto& [lease, usage] = open[random() % open.size()];
    if (!lease) {
      ++i;
      ++reports.begun;
      const std::string visitor = "192.0.2." + std::to_string(random() % 5);
      auto taken = ledger.take(loop,
                               {.bot = random() % 2 != 0 ? "default" : "shop",
                                .visitor = visitor,
                                .question_bytes = random() % 900},
                               handler);
      if (std::holds_alternative<Refusal>(taken)) {
        ++reports.refused;
        ++reports.ended;
        continue;
      }
      lease = std::move(std::get<std::unique_ptr<Lease>>(taken));
      usage = {};
      continue;
    }
    const Usage before = usage;
    usage.input_tokens = std::max(usage.input_tokens, 100 + random() % 400);
    usage.output_tokens += random() % 200;
    reports.billed += usage.input_tokens + usage.output_tokens - before.input_tokens - before.output_tokens;
    const bool goes_on = lease->settle(usage);
    if (goes_on && random() % 8 != 0) continue;
    if (random() % 2 != 0) lease->finish();
    lease.reset();
    ++reports.ended;
  }
  for (auto& [lease, usage] : open) {
    if (lease) ++reports.ended;
    lease.reset();
  }
}

struct SharedLedgers : FileLedgers {
  SharedReports reports;

  void SetUp() override {
    config.bots.resize(1);
    config.bots[0].name = "shop";
    for (Config* const bot : {&config, &config.bots[0]}) {
      bot->cap_expected_input = 300;
      bot->caps.visitor_day = 1'000'000'000;
    }
  }
  void ask_in_threads(unsigned seed, uint64_t answers) {
    FileLedger shared(config);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 2; ++i)
      threads.emplace_back([&, i] { ask(shared, *reports, 2 * seed + i, answers); });
    for (std::thread& thread : threads) thread.join();
  }
  /// Runs in a process of its own, until it ends or is killed.
  static pid_t start(const std::function<void()>& work) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  static void await_end(pid_t child) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  void expect_sums_to_be_exact() {
    EXPECT_EQ(used(""), reports->billed);
    EXPECT_EQ(used("default") + used("shop"), reports->billed);
    for (const char* const bot : {"", "default", "shop"}) {
      const BotReport of_bot = report(bot);
      EXPECT_EQ(of_bot.open_leases, 0u);
      for (const CapState& cap : of_bot.caps) {
        EXPECT_EQ(cap.leased, 0u) << bot << cap.scope << cap.period;
        EXPECT_EQ(cap.used, cap.scope == "visitor" ? 0 : of_bot.month.tokens())
            << bot << cap.scope << cap.period;
      }
    }
  }
};

TEST_F(SharedLedgers, CountExactlyWithTwoThreads) {
  ask_in_threads(1, 10'000);
  expect_sums_to_be_exact();
}

TEST_F(SharedLedgers, CountExactlyWhileTheirCapIsReached) {
  config.total_caps.day = 1'000'000;
  ask_in_threads(1, 10'000);
  EXPECT_GT(reports->refused, 0u);
  EXPECT_LE(used(""), 1'000'000u + 16 * 600) << "at most a frame for each open answer";
  expect_sums_to_be_exact();
}

TEST_F(SharedLedgers, CountExactlyWithTwoOpenInOneProcess) {
  FileLedger first(config);
  FileLedger second(config);
  std::thread thread([&] { ask(first, *reports, 1, 5000); });
  ask(second, *reports, 2, 5000);
  thread.join();
  expect_sums_to_be_exact();
}

TEST_F(SharedLedgers, CountExactlyWithTwoProcessesOfTwoThreads) {
  SKIP_UNDER_TSAN;
  std::vector<pid_t> children;
  for (unsigned i = 0; i < 2; ++i) children.push_back(start([&] { ask_in_threads(i, 10'000); }));
  for (const pid_t child : children) await_end(child);
  expect_sums_to_be_exact();
  ledger.reset();
  std::filesystem::remove(folder.ledger());
  EXPECT_EQ(used(""), reports->billed) << "the journal has it too";
}

TEST_F(SharedLedgers, CountNoLessThanWasBilledAfterAKill) {
  SKIP_UNDER_TSAN;
  // An open lease: the expected input, a slice, and another half before it is given back.
  constexpr uint64_t kMaxLease = 300 + 300 + 512 + 256;
  std::mt19937 random(4711);
  uint64_t billed_before = 0;
  uint64_t used_before = 0;
  std::chrono::nanoseconds slowest{0};
  uint64_t open_at_a_kill = 0;
  for (unsigned round = 0; round < 250; ++round) {
    const uint64_t begun_before = reports->begun;
    std::vector<pid_t> children;
    for (unsigned i = 0; i <= round % 2; ++i)
      children.push_back(start([&] { ask_in_threads(round * 2 + i, 1'000'000); }));
    ASSERT_TRUE(await([&] { return reports->begun >= begun_before + 20; }));
    ::usleep(static_cast<useconds_t>(random() % 2000));
    for (const pid_t child : children) ::kill(child, SIGKILL);
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);

    const uint64_t billed = reports->billed;
    const uint64_t open = reports->begun - reports->ended;
    const auto start = std::chrono::steady_clock::now();
    FileLedger reopened(config);
    slowest = std::max<std::chrono::nanoseconds>(slowest, std::chrono::steady_clock::now() - start);
    uint64_t used = 0;
    uint64_t of_bots = 0;
    for (const BotReport& bot : reopened.report(1).bots) {
      EXPECT_EQ(bot.open_leases, 0u);
      EXPECT_EQ(bot.caps[0].leased, 0u);
      EXPECT_EQ(bot.month.tokens(), bot.caps[0].used) << bot.bot;
      EXPECT_GE(bot.caps[1].used, bot.caps[0].used) << bot.bot;
      (bot.bot.empty() ? used : of_bots) += bot.caps[0].used;
    }
    ASSERT_GE(used - used_before, billed - billed_before) << "round " << round;
    ASSERT_LE(used - used_before, billed - billed_before + open * kMaxLease)
        << "round " << round << ", " << open;
    ASSERT_GE(of_bots, billed);
    open_at_a_kill += open;
    billed_before = billed;
    used_before = used;
    reports->ended = reports->begun.load();  // they count as used, and are no longer open
  }
  EXPECT_GT(open_at_a_kill, 1000u);
  RecordProperty("slowest_start_ms", static_cast<int>(slowest.count() / 1'000'000));
  std::printf("          %d open answers were killed; the slowest start took %.1f ms\n",
              static_cast<int>(open_at_a_kill), static_cast<double>(slowest.count()) / 1e6);
}

TEST_F(SharedLedgers, CloseTheLeasesOfAProcessThatWasKilledWhileOthersGoOn) {
  SKIP_UNDER_TSAN;
  const pid_t child = start([&] {
    open();
    const auto taken = lease();
    (void)taken->settle({100, 20});
    reports->billed = 120;
    ::pause();
  });
  ASSERT_TRUE(await([&] { return reports->billed > 0; }));
  open();
  EXPECT_EQ(report().open_leases, 1u);
  EXPECT_EQ(used(), 120u);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(await([&] { return report().open_leases == 0; }));
  const Spent spent = report().days.at(0).spent;
  EXPECT_EQ(spent.input_tokens, 100u);
  EXPECT_EQ(spent.output_tokens, 20u);
  EXPECT_GE(spent.estimated_tokens, 256u);
  EXPECT_EQ(spent.tokens(), used());
}

TEST_F(SharedLedgers, CountTheExpectedInputOfAnAnswerThatWasKilledBeforeItsFirstFrame) {
  SKIP_UNDER_TSAN;
  const pid_t child = start([&] {
    open();
    const auto taken = lease(0);
    reports->begun = 1;
    ::pause();
  });
  ASSERT_TRUE(await([&] { return reports->begun > 0; }));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(used(), 300u + 512);
  EXPECT_EQ(report().days.at(0).spent.estimated_tokens, 300u + 512);
}

TEST_F(SharedLedgers, PauseAtOnceInEveryProcess) {
  SKIP_UNDER_TSAN;
  const pid_t child = start([&] {
    open();
    const auto taken = lease();
    reports->begun = 1;
    EXPECT_TRUE(await([&] { return !taken->settle({100, 1}); }));
    EXPECT_EQ(taken->refusal().message, "closed");
  });
  ASSERT_TRUE(await([&] { return reports->begun > 0; }));
  open();
  ledger->pause("", "closed", true);
  await_end(child);
}

}  // namespace
}  // namespace bailian
