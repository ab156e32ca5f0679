#include "telemetry/slow_log.h"

#include <gtest/gtest.h>

namespace bailian {
namespace {

using std::chrono::milliseconds;

AccessRecord a_record() {
  AccessRecord record;
  record.started = Clock::now();
  record.request_id = "id";
  return record;
}

std::vector<std::string> lines(AccessRecord record, double first_token_limit, double answer_limit,
                               milliseconds after) {
  record.slow_first_token = Seconds(first_token_limit);
  record.slow_answer = Seconds(answer_limit);
  std::vector<std::string> texts;
  for (const LogFields& fields : slow_lines(record, record.started + after)) {
    texts.push_back(format_log_line(LogFormat::kText, "T", LogLevel::kWarning, "slow", "", fields));
  }
  return texts;
}

TEST(SlowLog, TellsEachLimitThatWasExceeded) {
  AccessRecord record = a_record();
  record.first_token = record.started + milliseconds(2500);
  record.usage = Usage{3, 4};
  record.bot = "shop";
  record.model = "qwen";
  record.upstream_request_id = "u";
  record.retries = 1;
  EXPECT_EQ(
      lines(record, 2, 4, milliseconds(5000)),
      (std::vector<std::string>{
          "T warning slow request_id=id what=first_token seconds=2.500 threshold=2 bot=shop input_tokens=3 "
          "output_tokens=4 retries=1 outcome=done model=qwen upstream_request_id=u",
          "T warning slow request_id=id what=answer seconds=5 threshold=4 bot=shop input_tokens=3 "
          "output_tokens=4 retries=1 outcome=done model=qwen upstream_request_id=u"}));
  EXPECT_EQ(lines(record, 3, 4, milliseconds(5000)).size(), 1U);
}

TEST(SlowLog, CountsWhatNeverGotAFirstToken) {
  AccessRecord record = a_record();
  record.outcome = Outcome::kClientGone;
  EXPECT_EQ(lines(record, 2, 4, milliseconds(2500)),
            (std::vector<std::string>{"T warning slow request_id=id what=first_token seconds=2.500 "
                                      "threshold=2 retries=0 outcome=client_gone"}));
  EXPECT_TRUE(lines(record, 2, 4, milliseconds(2000)).empty());
}

TEST(SlowLog, IsSilentWithoutLimits) { EXPECT_TRUE(lines(a_record(), 0, 0, std::chrono::hours(24)).empty()); }

}  // namespace
}  // namespace bailian
