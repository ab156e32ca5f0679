#include "base/rate_limiter.h"

#include <gtest/gtest.h>

#include <new>
#include <vector>

namespace bailian {
namespace {

using std::chrono::milliseconds;

EventLoop* running = nullptr;
std::vector<int> reported;

void report(int suppressed) {
  reported.push_back(suppressed);
  if (running != nullptr) running->stop();
}

class RateLimiterTest : public testing::Test {
 protected:
  RateLimiterTest() { reported.clear(); }
  ~RateLimiterTest() override { running = nullptr; }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
};

TEST_F(RateLimiterTest, AdmitsSoManyInAWindowAndReportsTheRestAtItsEnd) {
  RateLimiter limiter(loop_, 2, milliseconds(1), report);
  EXPECT_TRUE(limiter.admit());
  EXPECT_TRUE(limiter.admit());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(limiter.admit());
  running = &loop_;
  loop_.run();
  EXPECT_EQ(reported, std::vector<int>{3});
  EXPECT_TRUE(limiter.admit());
}

TEST_F(RateLimiterTest, ReportsTheRestOnDestruction) {
  {
    RateLimiter limiter(loop_, 1, std::chrono::hours(1), report);
    for (int i = 0; i < 3; ++i) limiter.admit();
  }
  EXPECT_EQ(reported, std::vector<int>{2});
}

TEST_F(RateLimiterTest, ReportsNothingThatWasAdmitted) {
  {
    RateLimiter limiter(loop_, 1, std::chrono::hours(1), report);
    limiter.admit();
  }
  EXPECT_TRUE(reported.empty());
}

TEST_F(RateLimiterTest, SurvivesAReportWithoutMemory) {
  {
    RateLimiter limiter(loop_, 1, std::chrono::hours(1), [](int suppressed) {
      report(suppressed);
      throw std::bad_alloc();
    });
    limiter.admit();
    limiter.admit();
  }
  EXPECT_EQ(reported, std::vector<int>{1});
}

}  // namespace
}  // namespace bailian
