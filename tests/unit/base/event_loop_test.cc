#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <memory>
#include <string>
#include <thread>

namespace bailian {
namespace {

class Loops : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> fds{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    ours_ = UniqueFd(fds[0]);
    theirs_ = UniqueFd(fds[1]);
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  UniqueFd ours_;
  UniqueFd theirs_;
};

TEST_F(Loops, WhatIsPutOffRunsOnceAtTheEndOfTheIteration) {
  std::string order;
  EndOfIteration second(loop_, [&] { order += "c"; });
  EndOfIteration first(loop_, [&] {
    order += "b";
    second.schedule();
    loop_.stop();
  });
  IoEvent readable(loop_, [&](short) {
    first.schedule();
    first.schedule();
    order += "a";
    char byte = 0;
    ASSERT_EQ(::read(ours_.get(), &byte, 1), 1);
  });
  readable.watch(ours_.get(), IoEvent::kRead);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  loop_.run();
  EXPECT_EQ(order, "abc");
}

TEST_F(Loops, WhatHasDiedIsNotCalled) {
  auto victim = std::make_unique<EndOfIteration>(loop_, [] { FAIL(); });
  EndOfIteration killer(loop_, [&] { victim.reset(); });
  loop_.post([&] {
    killer.schedule();
    victim->schedule();
    loop_.stop();
  });
  loop_.run();
}

TEST_F(Loops, PostsComeFromAnyThread) {
  std::thread other([&] {
    loop_.post([&] {
      EXPECT_TRUE(loop_.in_loop_thread());
      loop_.stop();
    });
  });
  loop_.run();
  other.join();
}

TEST_F(Loops, TimersFireOnceAndCanBeTakenBack) {
  int fired = 0;
  Timer never(loop_, [] { FAIL(); });
  Timer soon(loop_, [&] {
    ++fired;
    loop_.stop();
  });
  never.start(std::chrono::milliseconds(1));
  never.cancel();
  soon.start(std::chrono::hours(1));
  soon.start(std::chrono::milliseconds(5));
  loop_.run();
  EXPECT_EQ(fired, 1);
}

TEST_F(Loops, AnEdgeIsToldOnceUntilItIsAskedForAgain) {
  int calls = 0;
  IoEvent readable(loop_, [&](short) {
    if (++calls == 1) readable.again();
    if (calls == 2) loop_.stop();
  });
  readable.watch(ours_.get(), IoEvent::kRead, IoEvent::Trigger::kEdge);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  loop_.run();
  EXPECT_EQ(calls, 2);
}

TEST_F(Loops, ASignalIsAnEvent) {
  int signals = 0;
  SignalEvent usr2(loop_, SIGUSR2, [&] {
    ++signals;
    loop_.stop();
  });
  std::raise(SIGUSR2);
  loop_.run();
  EXPECT_EQ(signals, 1);
}

TEST_F(Loops, ASignalThatNobodyListensToAnyMoreIsIgnored) {
  {
    const SignalEvent listener(loop_, SIGUSR2, [] {});
  }
  EXPECT_EQ(::raise(SIGUSR2), 0);  // or this process would end
}

TEST_F(Loops, ABusyLoopGathersAndStillServesEverything) {
  EventLoop busy(std::chrono::microseconds(500));
  int left = 20000;
  IoEvent readable(busy, [&](short) {
    char bytes[64];
    ASSERT_GT(::read(ours_.get(), bytes, 1), 0);
    if (--left == 0) return busy.stop();
    ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  });
  readable.watch(ours_.get(), IoEvent::kRead);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  busy.run();
  EXPECT_EQ(left, 0);
}

}  // namespace
}  // namespace bailian
