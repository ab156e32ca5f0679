#include "service/watchdog.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <csignal>
#include <thread>
#include <vector>

#include "unit/service/notify_socket.h"

namespace bailian {
namespace {

class WatchdogTest : public testing::Test {
 public:
  void on_check() {
    ++checks_;
    if (checks_ == second_runs_at_) {
      notified_before_ = notifications();
      std::thread([this] { run_second_loop(); }).join();
    }
    if (checks_ == stops_at_) first_.stop();
  }

 protected:
  void run_until_check(int number) {
    stops_at_ = number;
    first_.run();
  }
  // Runs the tasks that were posted to the second loop so far.
  void run_second_loop() {
    second_.stop();
    second_.run();
  }
  int notifications() const {
    int count = 0;
    for (auto message = socket_.next(); message; message = socket_.next()) {
      EXPECT_EQ(message, "WATCHDOG=1");
      ++count;
    }
    return count;
  }

  const NotifySocket socket_{"20000"};
  ServiceManager manager_;
  EventLoop first_{std::chrono::nanoseconds::zero()};
  EventLoop second_{std::chrono::nanoseconds::zero()};
  int checks_ = 0;
  int stops_at_ = 0;
  int second_runs_at_ = 0;
  int notified_before_ = 0;
};

TEST_F(WatchdogTest, NotifiesAtEachCheckWhileTheLoopRuns) {
  Watchdog watchdog({&first_}, manager_, bind<&WatchdogTest::on_check>(this));
  watchdog.start();
  run_until_check(4);
  EXPECT_EQ(notifications(), 4);
}

TEST_F(WatchdogTest, NotifiesOnlyWhenEveryLoopHasAnswered) {
  Watchdog watchdog({&first_, &second_}, manager_, bind<&WatchdogTest::on_check>(this));
  second_runs_at_ = 4;
  watchdog.start();
  run_until_check(5);
  EXPECT_EQ(notified_before_, 1) << "the second loop did not run, so only the first check notifies";
  EXPECT_EQ(notifications(), 1) << "the check after its answer";
}

TEST_F(WatchdogTest, SetsAnAlarmOnceNoManagerWatches) {
  Watchdog watchdog({&first_}, manager_, bind<&WatchdogTest::on_check>(this));
  const auto alarm_us = [] {
    itimerval alarm{};
    ::getitimer(ITIMER_REAL, &alarm);
    return alarm.it_value.tv_sec * 1'000'000 + alarm.it_value.tv_usec;
  };
  const auto before = std::signal(SIGALRM, SIG_IGN);
  watchdog.switch_to_alarm();
  EXPECT_GT(alarm_us(), 0);
  EXPECT_LE(alarm_us(), 20'000);
  const itimerval none{};
  ::setitimer(ITIMER_REAL, &none, nullptr);
  run_until_check(1);
  EXPECT_GT(alarm_us(), 0) << "the check has set it again";
  ::setitimer(ITIMER_REAL, &none, nullptr);
  std::signal(SIGALRM, before);
  EXPECT_EQ(notifications(), 0);
}

}  // namespace
}  // namespace bailian
