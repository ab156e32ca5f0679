#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace bailian {
namespace {

/// Calls a lambda that outlives the callback.
template <typename Lambda>
auto call(Lambda& lambda) {
  return bind<&Lambda::operator()>(&lambda);
}

class SocketPair {
 public:
  SocketPair() {
    std::array<int, 2> fds{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0)
      throw std::runtime_error("socketpair");
    ours_ = UniqueFd(fds[0]);
    theirs_ = UniqueFd(fds[1]);
  }
  [[nodiscard]] int fd() const { return ours_.get(); }
  void receive_byte() const {
    char byte = 0;
    ASSERT_EQ(::read(ours_.get(), &byte, 1), 1);
  }
  void send_byte() const { ASSERT_EQ(::write(theirs_.get(), "x", 1), 1); }

 private:
  UniqueFd ours_;
  UniqueFd theirs_;
};

class Loops : public testing::Test {
 protected:
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  SocketPair pair_;
};

TEST_F(Loops, WhatIsScheduledRunsOnceAtTheEndOfTheIteration) {
  std::string order;
  auto append_c = [&] { order += "c"; };
  EndOfIteration second(loop_, call(append_c));
  auto append_b = [&] {
    order += "b";
    second.schedule();
    loop_.stop();
  };
  EndOfIteration first(loop_, call(append_b));
  auto on_readable = [&] {
    first.schedule();
    first.schedule();
    order += "a";
    pair_.receive_byte();
  };
  IoEvent readable(loop_, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  loop_.run();
  EXPECT_EQ(order, "abc");
}

TEST_F(Loops, WhatIsDestroyedIsNotCalled) {
  auto fail = [] { FAIL(); };
  auto victim = std::make_unique<EndOfIteration>(loop_, call(fail));
  auto destroy = [&] { victim.reset(); };
  EndOfIteration first(loop_, call(destroy));
  loop_.post([&] {
    first.schedule();
    victim->schedule();
    loop_.stop();
  });
  loop_.run();
}

TEST_F(Loops, AnyThreadMayPost) {
  std::thread other([&] {
    loop_.post([&] {
      EXPECT_TRUE(loop_.in_loop_thread());
      loop_.stop();
    });
  });
  loop_.run();
  other.join();
}

TEST_F(Loops, RunsTheTasksThatFollowOneThatThrows) {
  loop_.post([] { throw std::runtime_error("logged as internal"); });
  loop_.post([&] { loop_.stop(); });
  loop_.run();
}

TEST_F(Loops, ATimerFiresOnceUnlessItIsCancelled) {
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
  int calls = 0;
  std::optional<IoEvent> readable;
  auto on_readable = [&] {
    if (++calls == 1) readable->again();
    if (calls == 2) loop_.stop();
  };
  readable.emplace(loop_, call(on_readable));
  readable->watch(pair_.fd(), IoEvent::kRead, IoEvent::Trigger::kEdge);
  pair_.send_byte();
  loop_.run();
  EXPECT_EQ(calls, 2);
}

TEST_F(Loops, AnEventWatchesTheLatestDescriptorForTheLatestInterest) {
  const SocketPair other;
  short reported = 0;
  std::optional<IoEvent> event;
  auto on_ready = [&](short ready) {
    reported = ready;
    event->unwatch();
    loop_.stop();
  };
  event.emplace(loop_, call(on_ready));
  event->watch(pair_.fd(), IoEvent::kWrite);
  event->watch(other.fd(), IoEvent::kRead);
  event->watch(other.fd(), IoEvent::kRead | IoEvent::kWrite);
  other.send_byte();
  loop_.run();
  EXPECT_EQ(reported, IoEvent::kRead | IoEvent::kWrite);
}

TEST_F(Loops, ADescriptorThatCannotBeWatchedThrowsAndLeavesTheEventUsable) {
  auto stop = [&] { loop_.stop(); };
  IoEvent event(loop_, call(stop));
  const UniqueFd file(::memfd_create("file", 0));  // epoll does not accept regular files
  EXPECT_THROW(event.watch(file.get(), IoEvent::kRead), std::system_error);
  event.unwatch();
  event.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  loop_.run();
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

TEST_F(Loops, ASignalWhoseEventIsDestroyedIsIgnored) {
  auto ignore = [] {};
  { const SignalEvent event(loop_, SIGUSR2, call(ignore)); }
  EXPECT_EQ(::raise(SIGUSR2), 0);  // otherwise this process would end
}

TEST_F(Loops, ABusyLoopServesEverything) {
  EventLoop busy(std::chrono::microseconds(500));
  int left = 20000;
  auto on_readable = [&] {
    pair_.receive_byte();
    if (--left == 0) return busy.stop();
    pair_.send_byte();
  };
  IoEvent readable(busy, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  busy.run();
  EXPECT_EQ(left, 0);
}

/// A loop that pauses for an hour whenever it pauses: then an alarm ends this process.
class LoopsThatDoNotPause : public Loops {
 protected:
  static constexpr std::chrono::milliseconds kLongerThanAWindow{60};

  LoopsThatDoNotPause() { ::alarm(20); }
  ~LoopsThatDoNotPause() override { ::alarm(0); }

  EventLoop loop_{std::chrono::hours(1)};
};

TEST_F(LoopsThatDoNotPause, AreNotBusy) {
  int left = 3;
  auto on_time = [&] { --left == 0 ? loop_.stop() : pair_.send_byte(); };
  Timer timer(loop_, call(on_time));
  auto on_readable = [&] {
    pair_.receive_byte();
    loop_.count_arrival();
    timer.start(kLongerThanAWindow);
  };
  IoEvent readable(loop_, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  loop_.run();
  EXPECT_EQ(left, 0);
}

TEST_F(LoopsThatDoNotPause, GetRequests) {
  const auto start = std::chrono::steady_clock::now();
  int left = 10;
  auto on_readable = [&] {
    pair_.receive_byte();
    for (int i = 0; i < 100'000; ++i) loop_.count_arrival();  // busy; but this event is no arrival
    if (std::chrono::steady_clock::now() - start > kLongerThanAWindow && --left == 0) return loop_.stop();
    pair_.send_byte();
  };
  IoEvent readable(loop_, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  loop_.run();
  EXPECT_EQ(left, 0);
}

TEST_F(Loops, ABusyLoopStartsItsIterationsSoFarApart) {
  constexpr std::chrono::milliseconds kApart{200};
  EventLoop busy(kApart);
  std::chrono::steady_clock::time_point first_end;
  std::chrono::steady_clock::duration passed{};
  auto on_end = [&] {
    passed = std::chrono::steady_clock::now() - first_end;
    busy.stop();
  };
  Timer last(busy, call(on_end));
  auto on_time = [&] { last.start(std::chrono::milliseconds(0)); };
  Timer next(busy, call(on_time));
  auto on_readable = [&] {
    pair_.receive_byte();
    for (int i = 0; i < 10'000'000; ++i) busy.count_arrival();
    next.start(std::chrono::milliseconds(60));
    first_end = std::chrono::steady_clock::now();
  };
  IoEvent readable(busy, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  busy.run();
  EXPECT_GE(passed, kApart);
}

// --- exceptions ---

/// One visitor: each of its events throws, and its exception handler unwatches its socket.
class Visitor {
 public:
  explicit Visitor(EventLoop& loop) : loop_(loop) {
    readable_.watch(pair_.fd(), IoEvent::kRead);
    pair_.send_byte();
  }
  void on_readable() {
    if (throws) throw std::runtime_error("readable");
    pair_.receive_byte();
    served = true;
    loop_.stop();
  }
  void on_time() { throw std::runtime_error("time"); }
  void on_iteration_end() { throw std::runtime_error("iteration end"); }
  void on_exception(const std::exception& error) noexcept {
    errors += std::string(error.what()) + ";";
    readable_.unwatch();
  }

  bool throws = false;
  bool served = false;
  std::string errors;

 private:
  EventLoop& loop_;
  SocketPair pair_;
  IoEvent readable_{loop_, bind<&Visitor::on_readable>(this), bind<&Visitor::on_exception>(this)};

 public:
  Timer timer{loop_, bind<&Visitor::on_time>(this), bind<&Visitor::on_exception>(this)};
  EndOfIteration end{loop_, bind<&Visitor::on_iteration_end>(this), bind<&Visitor::on_exception>(this)};
};

TEST_F(Loops, AnExceptionClosesTheOwnerOfTheEventAndNoOther) {
  Visitor failing(loop_);
  failing.throws = true;
  Visitor other(loop_);
  loop_.run();
  EXPECT_EQ(failing.errors, "readable;");
  EXPECT_TRUE(other.served);
  EXPECT_EQ(other.errors, "");
}

TEST_F(Loops, TheOwnerGetsTheExceptionsOfAllItsEvents) {
  Visitor visitor(loop_);
  visitor.throws = true;
  visitor.timer.start(std::chrono::milliseconds(1));
  auto end = [&] {
    visitor.end.schedule();
    loop_.stop();
  };
  Timer later(loop_, call(end));
  later.start(std::chrono::milliseconds(5));
  loop_.run();
  EXPECT_EQ(visitor.errors, "readable;time;iteration end;");
}

TEST_F(Loops, AnEventWithoutAnOwnerMayThrow) {
  int calls = 0;
  auto on_readable = [&] {
    if (++calls == 2) loop_.stop();
    throw std::runtime_error("logged as internal");
  };
  IoEvent readable(loop_, call(on_readable));
  readable.watch(pair_.fd(), IoEvent::kRead);
  pair_.send_byte();
  loop_.run();
  EXPECT_GE(calls, 2);
}

TEST_F(Loops, AnOwnerMayThrowToo) {
  auto fail = [] { throw std::runtime_error("from the event"); };
  std::string error_text;
  auto on_exception = [&](const std::exception& error) {
    error_text = error.what();
    loop_.stop();
    throw std::runtime_error("logged as internal");
  };
  Timer timer(loop_, call(fail), call(on_exception));
  timer.start(std::chrono::milliseconds(1));
  loop_.run();
  EXPECT_EQ(error_text, "from the event");
}

TEST_F(Loops, AnOwnerMayDestroyItsEventBeforeItThrows) {
  std::optional<Timer> timer;
  auto destroy = [&] {
    timer.reset();
    throw std::runtime_error("after its end");
  };
  std::string error_text;
  auto on_exception = [&](const std::exception& error) {
    error_text = error.what();
    loop_.stop();
  };
  timer.emplace(loop_, call(destroy), call(on_exception));
  timer->start(std::chrono::milliseconds(1));
  loop_.run();
  EXPECT_EQ(error_text, "after its end");
}

using LoopsDeathTest = Loops;

// In a loop that then pauses for an hour.
TEST_F(LoopsDeathTest, WhatIsScheduledRunsBeforeThePause) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [this] {
    ::alarm(20);
    EventLoop busy(std::chrono::hours(1));
    auto on_iteration_end = [] { ::_exit(7); };
    EndOfIteration end(busy, call(on_iteration_end));
    auto on_time = [&] { end.schedule(); };
    Timer timer(busy, call(on_time));
    auto on_readable = [&] {
      pair_.receive_byte();
      for (int i = 0; i < 10'000'000; ++i) busy.count_arrival();
      timer.start(std::chrono::milliseconds(60));
    };
    IoEvent readable(busy, call(on_readable));
    readable.watch(pair_.fd(), IoEvent::kRead);
    pair_.send_byte();
    busy.run();
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(7), "");
}

// --- the loop's thread ---

TEST_F(LoopsDeathTest, AnEventIsNotUsedFromAnotherThread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto ignore = [] {};
  Timer timer(loop_, call(ignore));
  loop_.post([&] {
    std::thread other([&] { EXPECT_DEATH(timer.cancel(), "in_loop_thread"); });
    other.join();
    loop_.stop();
  });
  loop_.run();
}

TEST_F(Loops, EventsMayBeUsedOnAnyThreadOnceTheLoopHasEnded) {
  std::thread runner([&] {
    loop_.post([&] { loop_.stop(); });
    loop_.run();
  });
  runner.join();
  auto ignore = [] {};
  Timer timer(loop_, call(ignore));
  timer.start(std::chrono::hours(1));
  timer.cancel();
}

}  // namespace
}  // namespace bailian
