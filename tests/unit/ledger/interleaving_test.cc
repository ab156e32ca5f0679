// Every order in which the steps of leases can follow each other, up to a number of switches.
//
// The code of ledger/lease_account.h itself runs, on cells that stop before each access. Each answer runs on
// a stack of its own; a search decides at each stop which one goes on, and whether its process is killed
// there. Covered: all orders of two answers with up to three switches that are not forced, and of four
// answers in two processes with one; a kill at every step of two answers with one or two switches, and of
// four with none. Not covered: orders with more switches, the reordering of memory by a processor (each
// access is one step that all see), compare_exchange_weak that fails for no reason, the list of free slots,
// and a question that is refused because another one's lease is just being rolled back.
#include <gtest/gtest.h>
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ledger/lease_account.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SKIP_UNDER_SANITIZERS GTEST_SKIP() << "sanitizers do not know the stacks of this test"
#else
#define SKIP_UNDER_SANITIZERS
#endif

namespace bailian {
namespace {

void stop();  // lets the search decide who goes on

/// Behaves as std::atomic<uint64_t>, one access at a time.
class Cell {
 public:
  Cell() = default;
  explicit Cell(uint64_t value) : value_(value) {}
  uint64_t load(std::memory_order) const {
    stop();
    return value_;
  }
  void store(uint64_t value, std::memory_order) {
    stop();
    value_ = value;
  }
  void fetch_add(uint64_t more, std::memory_order) {
    stop();
    value_ += more;
  }
  bool compare_exchange_weak(uint64_t& expected, uint64_t desired, std::memory_order,
                             std::memory_order = std::memory_order_seq_cst) {
    stop();
    if (value_ != expected) {
      expected = value_;
      return false;
    }
    value_ = desired;
    return true;
  }
  [[nodiscard]] uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

constexpr uint64_t kExpected = 100;
constexpr uint64_t kSlice = 128;
constexpr uint64_t kFrame = 90;  // tokens of one frame

/// One answer: what it does, and what has become of it.
struct Answer {
  std::vector<uint64_t> outputs;  // of its frames; the input is the expected one
  bool is_abandoned = false;      // and costs the whole lease
  uint64_t input = kExpected;
  int process = 0;

  LeaseSlotOf<Cell> slot{};
  uint64_t settled = 0;  // tokens that the ledger has been told of
  uint64_t counted = 0;  // after its end
  uint64_t overdraft = 0;
  bool is_refused = false;
  bool has_ended = false;
};

/// The ledger's cells, and the answers that share them.
struct World {
  std::array<Cell, 2> caps;
  std::array<Cell, 2> committed{};
  Cell count{};  // the sum of what is settled, as the day's counters have it
  std::vector<Answer> answers;

  World(uint64_t cap, uint64_t total_cap) : caps{Cell(cap), Cell(total_cap)} {}

  void run(Answer& answer) {
    ScopesOf<Cell> scopes;
    for (size_t i = 0; i < committed.size(); ++i) scopes.add(committed[i], caps[i]);
    LeaseAccountOf<Cell> lease;
    answer.is_refused = !lease.open(answer.slot, scopes, 1, kExpected, kSlice);
    for (size_t i = 0; i < answer.outputs.size() && !answer.is_refused; ++i) {
      const uint64_t before = lease.granted();
      const bool fits = lease.settle({answer.input, answer.outputs[i], 0});
      answer.settled = answer.input + answer.outputs[i];
      if (i == 0) lease.give_back_surplus();
      if (fits) continue;
      answer.overdraft = lease.granted() - before;
      break;
    }
    if (!answer.is_refused) {
      answer.counted = lease.close(answer.is_abandoned).sum();
      count.fetch_add(answer.counted, std::memory_order_relaxed);
    }
    answer.has_ended = true;
  }

  /// What must hold at every step, whoever is killed.
  void check() const {
    uint64_t needed = 0;
    uint64_t overdraft = 0;
    for (const Answer& answer : answers) {
      needed += answer.slot.tag.value() != 0 ? answer.slot.granted.value() : answer.counted;
      EXPECT_LE(answer.settled, answer.slot.granted.value());
      overdraft += answer.overdraft;
    }
    for (size_t i = 0; i < committed.size(); ++i) {
      EXPECT_GE(committed[i].value(), needed);
      // An answer that is about to be ended may have overdrawn, and not said so yet.
      EXPECT_LE(committed[i].value(), caps[i].value() + overdraft + answers.size() * kFrame);
    }
    EXPECT_LE(count.value(), committed[0].value());
  }

  void check_end(int killed_process) {
    uint64_t used = 0;
    uint64_t lost = 0;  // leases of killed answers, or what was on its way to them
    for (Answer& answer : answers) {
      const bool is_dead = answer.process == killed_process && !answer.has_ended;
      ASSERT_TRUE(is_dead || answer.has_ended);
      if (!is_dead) {
        EXPECT_EQ(answer.slot.tag.value(), 0u);
        EXPECT_EQ(answer.counted,
                  answer.is_abandoned ? std::max(answer.counted, answer.settled) : answer.settled);
      } else if (answer.slot.tag.value() != 0) {
        const uint64_t closed = close_dead(answer.slot).sum();
        EXPECT_GE(closed, answer.settled);
        count.fetch_add(closed, std::memory_order_relaxed);
      }
      if (is_dead) lost += kExpected + kSlice + 2 * kFrame;
      used += is_dead ? answer.settled : answer.counted;
    }
    for (const Cell& cell : committed) {
      EXPECT_GE(cell.value(), used);
      EXPECT_LE(cell.value(), used + lost) << "a lease has leaked";
      EXPECT_LE(count.value(), cell.value());
    }
    if (lost == 0) {
      EXPECT_EQ(count.value(), used);
    }
  }
};

/// Runs each answer on a stack of its own.
class Scheduler {
 public:
  /// `choose(n)` picks one of n ways to go on.
  Scheduler(World& world, const std::function<size_t(size_t)>& choose, int max_switches, bool may_kill)
      : world_(world), choose_(choose), switches_left_(max_switches), may_kill_(may_kill) {}

  void run() {
    active_ = this;
    fibers_.resize(world_.answers.size());
    for (size_t i = 0; i < fibers_.size(); ++i) {
      Fiber& fiber = fibers_[i];
      fiber.stack = std::move(spare_stacks()[i]);
      if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStackBytes);
      ::getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = &main_;
      ::makecontext(&fiber.context, &Scheduler::enter, 0);
    }
    int steps = 0;
    while (pick_next()) {
      is_inside_ = true;
      ::swapcontext(&main_, &fibers_[current_].context);
      is_inside_ = false;
      world_.check();
      if (++steps > 10'000) {
        ADD_FAILURE() << "it does not end";
        break;
      }
    }
    world_.check_end(killed_);
    for (size_t i = 0; i < fibers_.size(); ++i) spare_stacks()[i] = std::move(fibers_[i].stack);
    active_ = nullptr;
  }

  static void stop() {
    if (active_ != nullptr && active_->is_inside_)
      ::swapcontext(&active_->fibers_[active_->current_].context, &active_->main_);
  }

 private:
  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
  };
  static constexpr size_t kStackBytes = 64 << 10;

  static std::array<std::unique_ptr<char[]>, 4>& spare_stacks() {
    static std::array<std::unique_ptr<char[]>, 4> stacks;
    return stacks;
  }
  static void enter() {
    Scheduler& self = *active_;
    self.world_.run(self.world_.answers[self.current_]);
  }
  [[nodiscard]] bool can_run(size_t i) const {
    return !world_.answers[i].has_ended && world_.answers[i].process != killed_;
  }

  // The one that runs goes on for nothing; another one costs a switch, unless it cannot go on.
  bool pick_next() {
    std::vector<size_t> others;
    for (size_t i = 0; i < fibers_.size(); ++i) {
      if (i != current_ && can_run(i)) others.push_back(i);
    }
    const bool goes_on = has_started_ && can_run(current_);
    if (!has_started_ && can_run(current_)) others.insert(others.begin(), current_);
    has_started_ = true;
    const size_t kill = may_kill_ && killed_ < 0 && goes_on ? 1 : 0;
    const size_t switches = goes_on && switches_left_ == 0 ? 0 : others.size();
    const size_t ways = (goes_on ? 1 : 0) + switches + kill;
    if (ways == 0) return false;
    size_t way = choose_(ways);
    if (goes_on && way-- == 0) return true;
    if (way < switches) {
      if (goes_on) --switches_left_;
      current_ = others[way];
      return true;
    }
    killed_ = world_.answers[current_].process;
    return pick_next();
  }

  static inline Scheduler* active_ = nullptr;
  World& world_;
  const std::function<size_t(size_t)>& choose_;
  int switches_left_;
  const bool may_kill_;
  std::vector<Fiber> fibers_;
  ucontext_t main_{};
  size_t current_ = 0;
  int killed_ = -1;
  bool has_started_ = false;
  bool is_inside_ = false;
};

void stop() { Scheduler::stop(); }

/// Runs a new world for each sequence of choices. Returns how many there were.
template <typename MakeWorld>
size_t explore(const MakeWorld& make_world, int max_switches, bool may_kill) {
  struct Choice {
    size_t taken;
    size_t ways;
  };
  std::vector<Choice> path;
  size_t runs = 0;
  for (;;) {
    size_t depth = 0;
    const std::function<size_t(size_t)> choose = [&](size_t ways) {
      if (depth == path.size()) path.push_back({0, ways});
      return path[depth++].taken;
    };
    World world = make_world();
    Scheduler(world, choose, max_switches, may_kill).run();
    ++runs;
    if (testing::Test::HasFailure()) {
      std::string way;
      for (size_t i = 0; i < path.size(); ++i) {
        if (path[i].taken > 0) way += " " + std::to_string(i) + ":" + std::to_string(path[i].taken);
      }
      ADD_FAILURE() << "choices other than the first:" << way;
      return runs;
    }
    path.resize(depth);
    while (!path.empty() && path.back().taken + 1 == path.back().ways) path.pop_back();
    if (path.empty()) return runs;
    ++path.back().taken;
  }
}

/// Two answers that need a second slice, with caps that do not pay for both.
World narrow() {
  World world(400, 420);
  for (int i = 0; i < 2; ++i) {
    world.answers.emplace_back();
    world.answers.back().outputs = {kFrame, 2 * kFrame};
    world.answers.back().process = i;
  }
  return world;
}

/// Likewise; one has a smaller input than expected and gives back, the other is abandoned.
World uneven() {
  World world(420, 1000);
  for (int i = 0; i < 2; ++i) {
    world.answers.emplace_back();
    world.answers.back().process = i;
  }
  world.answers[0].input = 1;
  world.answers[0].outputs = {1, kFrame};
  world.answers[1].outputs = {kFrame};
  world.answers[1].is_abandoned = true;
  return world;
}

/// Two processes of two loops each.
World crowded() {
  World world(700, 600);
  for (int i = 0; i < 4; ++i) {
    world.answers.emplace_back();
    world.answers.back().outputs = {kFrame};
    world.answers.back().process = i / 2;
  }
  return world;
}

void expect_runs(size_t runs, size_t least) {
  EXPECT_GT(runs, least);
  std::printf("          %zu orders\n", runs);
}

TEST(Interleavings, OfTwoAnswersKeepTheirSums) {
  SKIP_UNDER_SANITIZERS;
  expect_runs(explore(narrow, 3, false), 10'000);
  expect_runs(explore(uneven, 3, false), 10'000);
}

TEST(Interleavings, OfTwoAnswersOfWhichOneIsKilledCountNoLess) {
  SKIP_UNDER_SANITIZERS;
  expect_runs(explore(narrow, 1, true), 1000);
  expect_runs(explore(uneven, 2, true), 10'000);
}

TEST(Interleavings, OfFourAnswersInTwoProcessesKeepTheirSums) {
  SKIP_UNDER_SANITIZERS;
  expect_runs(explore(crowded, 1, false), 1000);
}

TEST(Interleavings, OfFourAnswersOfWhichTwoAreKilledCountNoLess) {
  SKIP_UNDER_SANITIZERS;
  expect_runs(explore(crowded, 0, true), 1000);
}

}  // namespace
}  // namespace bailian
