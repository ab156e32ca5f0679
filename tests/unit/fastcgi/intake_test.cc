#include "fastcgi/intake.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "harness/sanitized.h"
#include "unit/fcgi_wire.h"
#include "unit/heap.h"

namespace bailian {
namespace {

using Phase = FcgiIntake::Phase;
using std::chrono::seconds;

constexpr size_t kBodyBytes = 500'000;
constexpr size_t kLittle = 65'536;

class FcgiIntakes : public testing::Test {
 protected:
  void take(const std::string& bytes) {
    EXPECT_TRUE(intake_.take({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()}));
  }
  void take_head(const char* method = "POST") {
    take(wire::begin(1, FCGI_KEEP_CONN) +
         wire::params(1, {{"REQUEST_METHOD", method}, {"REQUEST_URI", "/"}}));
  }
  void reach(Phase phase) {
    if (phase == Phase::kHead) return take(wire::begin(1, FCGI_KEEP_CONN));
    take_head();
    if (phase == Phase::kBody) return;
    take(wire::stdin_stream(1, "body"));
    EXPECT_TRUE(intake_.read_request());
    intake_.park();
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  LoopBoard board_;
  Metrics metrics_;
  FcgiContext context_{
      .loop = loop_,
      .limits = {size_t{1} << 20, 7, seconds(60), seconds(60)},
      .handler = {{}, [](std::string_view method, std::string_view) { return method == "POST"; }},
      .board = board_,
      .metrics = metrics_,
      .sent_bytes = metrics_.add_tally(Traffic::kToClients),
      .slow_log = SlowLog(loop_),
      .bad_requests = {loop_, 1, seconds(1), [](int) {}},
      .before_enter = {}};
  FcgiIntake intake_{context_};
};

TEST_F(FcgiIntakes, GiveTenSecondsToAPeerThatSendsNothing) { EXPECT_EQ(intake_.deadline(), seconds(10)); }

struct Limit {
  const char* name;
  Phase phase;
  seconds usual;
  seconds draining;
};
class FcgiIntakesInEachPhase : public FcgiIntakes, public testing::WithParamInterface<Limit> {};

TEST_P(FcgiIntakesInEachPhase, LimitItsTime) {
  const auto& [name, phase, usual, draining] = GetParam();
  reach(phase);
  EXPECT_EQ(intake_.phase(), phase);
  EXPECT_EQ(intake_.deadline(), usual);
  context_.draining = true;
  EXPECT_EQ(intake_.deadline(), draining);
}

INSTANTIATE_TEST_SUITE_P(All, FcgiIntakesInEachPhase,
                         testing::Values(Limit{"Head", Phase::kHead, seconds(10), seconds(1)},
                                         Limit{"Body", Phase::kBody, seconds(30), seconds(1)},
                                         Limit{"Parked", Phase::kParked, seconds(300), seconds(2)}),
                         [](const auto& test) { return test.param.name; });

TEST_F(FcgiIntakes, KeepNothingOfARequestThatWasRead) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  const size_t before = allocated_bytes();
  take_head();
  take(wire::stdin_stream(1, std::string(kBodyBytes, 'x')));
  EXPECT_GT(allocated_bytes(), before + kBodyBytes);
  EXPECT_EQ(intake_.read_request()->body.size(), kBodyBytes);
  EXPECT_LT(allocated_bytes(), before + kLittle);
}

TEST_F(FcgiIntakes, KeepNothingOfABodyThatNobodyReads) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  const size_t before = allocated_bytes();
  take_head("GET");
  take(wire::stdin_stream(1, std::string(kBodyBytes, 'x')));
  EXPECT_LT(allocated_bytes(), before + kLittle);
  EXPECT_EQ(intake_.read_request()->body, "");
}

}  // namespace
}  // namespace bailian
