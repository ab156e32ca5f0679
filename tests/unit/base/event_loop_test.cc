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

/// Calls a lambda that outlives the callback.
template <typename Lambda>
auto call(Lambda& lambda) {
  return bind<&Lambda::operator()>(&lambda);
}

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
  auto append_c = [&] { order += "c"; };
  EndOfIteration second(loop_, call(append_c));
  auto append_b = [&] {
    order += "b";
    second.schedule();
    loop_.stop();
  };
  EndOfIteration first(loop_, call(append_b));
  auto on_readable = [&](short) {
    first.schedule();
    first.schedule();
    order += "a";
    char byte = 0;
    ASSERT_EQ(::read(ours_.get(), &byte, 1), 1);
  };
  IoEvent readable(loop_, call(on_readable));
  readable.watch(ours_.get(), IoEvent::kRead);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  loop_.run();
  EXPECT_EQ(order, "abc");
}

TEST_F(Loops, WhatHasDiedIsNotCalled) {
  auto fail = [] { FAIL(); };
  auto victim = std::make_unique<EndOfIteration>(loop_, call(fail));
  auto kill = [&] { victim.reset(); };
  EndOfIteration killer(loop_, call(kill));
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
  auto fail = [] { FAIL(); };
  Timer never(loop_, call(fail));
  auto on_time = [&] {
    ++fired;
    loop_.stop();
  };
  Timer soon(loop_, call(on_time));
  never.start(std::chrono::milliseconds(1));
  never.cancel();
  soon.start(std::chrono::hours(1));
  soon.start(std::chrono::milliseconds(5));
  loop_.run();
  EXPECT_EQ(fired, 1);
}

TEST_F(Loops, AnEdgeIsReportedOnceUntilItIsAskedForAgain) {
  struct Reader {
    void read() {
      if (++calls == 1) readable.again();
      if (calls == 2) loop.stop();
    }
    EventLoop& loop;
    IoEvent readable{loop, bind<&Reader::read>(this)};
    int calls = 0;
  } reader{.loop = loop_};
  reader.readable.watch(ours_.get(), IoEvent::kRead, IoEvent::Trigger::kEdge);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  loop_.run();
  EXPECT_EQ(reader.calls, 2);
}

TEST_F(Loops, ASignalIsAnEvent) {
  int signals = 0;
  auto on_signal = [&] {
    ++signals;
    loop_.stop();
  };
  SignalEvent usr2(loop_, SIGUSR2, call(on_signal));
  std::raise(SIGUSR2);
  loop_.run();
  EXPECT_EQ(signals, 1);
}

TEST_F(Loops, ASignalThatNobodyListensToAnyMoreIsIgnored) {
  {
    auto ignore = [] {};
    const SignalEvent listener(loop_, SIGUSR2, call(ignore));
  }
  EXPECT_EQ(::raise(SIGUSR2), 0);  // or this process would end
}

TEST_F(Loops, ABusyLoopGathersAndStillServesEverything) {
  EventLoop busy(std::chrono::microseconds(500));
  int left = 20000;
  auto on_readable = [&](short) {
    char bytes[64];
    ASSERT_GT(::read(ours_.get(), bytes, 1), 0);
    if (--left == 0) return busy.stop();
    ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  };
  IoEvent readable(busy, call(on_readable));
  readable.watch(ours_.get(), IoEvent::kRead);
  ASSERT_EQ(::write(theirs_.get(), "x", 1), 1);
  busy.run();
  EXPECT_EQ(left, 0);
}

}  // namespace
}  // namespace bailian
