#include "service/watchdog.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <csignal>

#include "unit/service/notify_socket.h"

namespace bailian {
namespace {

class WatchdogTest : public testing::Test {
 public:
  void on_check() {
    if (--checks_left_ == 0) first_.stop();
  }

 protected:
  void run_checks(int checks) {
    checks_left_ = checks;
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
  int checks_left_ = 0;
};

TEST_F(WatchdogTest, NotifiesAtEachCheckWhileTheLoopRuns) {
  Watchdog watchdog({&first_}, manager_, bind<&WatchdogTest::on_check>(this));
  watchdog.start();
  EXPECT_EQ(notifications(), 1);
  run_checks(3);
  EXPECT_EQ(notifications(), 3);
}

TEST_F(WatchdogTest, NotifiesOnlyWhenEveryLoopHasAnswered) {
  Watchdog watchdog({&first_, &second_}, manager_, bind<&WatchdogTest::on_check>(this));
  watchdog.start();
  EXPECT_EQ(notifications(), 1);
  run_checks(3);
  EXPECT_EQ(notifications(), 0) << "the second loop does not run";
  run_second_loop();
  run_checks(1);
  EXPECT_EQ(notifications(), 1);
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
  run_checks(1);
  EXPECT_GT(alarm_us(), 0) << "the check has set it again";
  ::setitimer(ITIMER_REAL, &none, nullptr);
  std::signal(SIGALRM, before);
  EXPECT_EQ(notifications(), 0);
}

}  // namespace
}  // namespace bailian
