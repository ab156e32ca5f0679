#include "dashscope/target_health.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {
namespace {

using namespace std::chrono_literals;
using enum CoolDown;
using State = TargetHealth::State;

const Clock::time_point kStart{};

// Failures at these seconds, each followed by the length of the rest.
struct Failure {
  int at_s;
  CoolDown kind;
  int asked_s;
  int rest_s;  // from `at_s` on
};
struct Course {
  const char* name;
  std::vector<Failure> failures;
};

class Rests : public testing::TestWithParam<Course> {};

TEST_P(Rests, LastAsLongAsTheFailureSays) {
  TargetHealth health;
  for (const Failure& failure : GetParam().failures) {
    SCOPED_TRACE(failure.at_s);
    const auto now = kStart + std::chrono::seconds(failure.at_s);
    health.note_failure(failure.kind, std::chrono::seconds(failure.asked_s), now);
    const auto end = now + std::chrono::seconds(failure.rest_s);
    EXPECT_EQ(health.view(end - 1ns).state, State::kCooling);
    EXPECT_EQ(health.view(end).state, State::kDue);
    EXPECT_EQ(health.view(now).until, end);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, Rests,
    testing::Values(Course{"ThrottledFromTenSecondsToFiveMinutes",
                           {{0, kThrottled, 0, 10},
                            {10, kThrottled, 0, 20},
                            {30, kThrottled, 0, 40},
                            {70, kThrottled, 0, 80},
                            {150, kThrottled, 0, 160},
                            {310, kThrottled, 0, 300},
                            {610, kThrottled, 0, 300}}},
                    Course{"OutOfReachFromFiveSecondsToAMinute",
                           {{0, kBrief, 0, 5},
                            {5, kBrief, 0, 10},
                            {15, kBrief, 0, 20},
                            {35, kBrief, 0, 40},
                            {75, kBrief, 0, 60},
                            {135, kBrief, 0, 60}}},
                    Course{"ByItsKeyAlwaysFiveMinutes", {{0, kLong, 0, 300}, {300, kLong, 0, 300}}},
                    Course{"MuchLaterTwiceAsLongToo", {{0, kBrief, 0, 5}, {9000, kBrief, 0, 10}}},
                    Course{"AtOnceCountsOnce", {{0, kBrief, 0, 5}, {1, kBrief, 0, 4}, {5, kBrief, 0, 10}}},
                    Course{"AnotherFailureBeginsAgain",
                           {{0, kBrief, 0, 5}, {5, kThrottled, 0, 10}, {15, kBrief, 0, 5}}},
                    Course{"ALongerOneReplacesTheRest", {{0, kBrief, 0, 5}, {1, kLong, 0, 300}}},
                    Course{"AShorterOneDoesNot", {{0, kLong, 0, 300}, {1, kBrief, 0, 299}}},
                    Course{"AsLongAsTheTargetAsks", {{0, kThrottled, 60, 60}, {60, kThrottled, 0, 20}}},
                    Course{"NoShorterThanUsual",
                           {{0, kThrottled, 1, 10}, {1, kThrottled, 2, 9}, {2, kThrottled, 20, 20}}}),
    [](const auto& test) { return test.param.name; });

TEST(TargetHealths, AWellTargetIsAskedByAll) {
  TargetHealth health;
  for (int i = 0; i < 3; ++i) {
    const auto probe = health.admit(kStart);
    ASSERT_TRUE(probe);
    EXPECT_FALSE(*probe);
  }
}

TEST(TargetHealths, OneAtATimeProbesATargetThatHasRested) {
  TargetHealth health;
  health.note_failure(kBrief, 0s, kStart);
  EXPECT_FALSE(health.admit(kStart + 4s));
  auto probe = health.admit(kStart + 5s);
  ASSERT_TRUE(probe && *probe);
  EXPECT_EQ(health.view(kStart + 6s).state, State::kProbing);
  EXPECT_FALSE(health.admit(kStart + 6s));
  probe.reset();  // the visitor has left, for instance
  EXPECT_EQ(health.view(kStart + 6s).state, State::kDue);
  EXPECT_TRUE(health.admit(kStart + 6s));
}

TEST(TargetHealths, AProbeThatSucceedsOpensTheTargetToAll) {
  TargetHealth health;
  health.note_failure(kBrief, 0s, kStart);
  const auto probe = health.admit(kStart + 5s);
  health.note_success(kStart + 5s);
  EXPECT_EQ(health.view(kStart + 5s).state, State::kWell);
  EXPECT_TRUE(health.admit(kStart + 5s));
  health.note_failure(kBrief, 0s, kStart + 6s);
  EXPECT_EQ(health.view(kStart + 6s).until, kStart + 11s) << "as at first";
}

TEST(TargetHealths, ASuccessOfAChatThatBeganBeforeTheFailureDoesNotCount) {
  TargetHealth health;
  health.note_failure(kBrief, 0s, kStart + 1s);
  health.note_success(kStart);
  EXPECT_EQ(health.view(kStart + 1s).state, State::kCooling);
  health.note_success(kStart + 1s);
  EXPECT_EQ(health.view(kStart + 1s).state, State::kWell);
}

Target target(const std::string& app, const std::string& key) {
  Target target;
  target.base_url = "https://dashscope.aliyuncs.com/api/v1";
  target.app_id = app;
  target.api_key = key;
  return target;
}

TEST(TargetHealths, AreSharedByEqualTargetsAlone) {
  TargetHealths healths;
  const auto first = healths.of(target("app", "sk-1"));
  EXPECT_EQ(healths.of(target("app", "sk-1")), first);
  EXPECT_NE(healths.of(target("app", "sk-2")), first);
  EXPECT_NE(healths.of(target("other", "sk-1")), first);
  healths.forget();
  EXPECT_NE(healths.of(target("app", "sk-1")), first);
}

}  // namespace
}  // namespace bailian
