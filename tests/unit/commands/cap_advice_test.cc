#include "commands/cap_advice.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

class CapAdvice : public testing::Test {
 protected:
  CapAdvice() { shop_.name = "shop"; }

  std::vector<std::string> warnings() {
    Config config = config_;
    config.bots = {shop_};
    return cap_warnings(config);
  }
  std::vector<std::string> lines(const LedgerReport* report = nullptr) {
    Config config = config_;
    config.bots = {shop_};
    return cap_lines(config, report);
  }
  // Whether there is one warning, which begins so.
  testing::AssertionResult warns(const std::string& start) {
    const auto found = warnings();
    if (found.size() == 1 && found.front().starts_with(start)) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << found.size() << " warnings" << (found.empty() ? "" : ": " + found.front());
  }

  Config config_;
  Config shop_;
};

TEST_F(CapAdvice, HasNothingToSayOfSensibleCaps) {
  EXPECT_TRUE(warnings().empty());
  EXPECT_EQ(lines(), std::vector<std::string>{"caps: none"});
  config_.caps = {100'000, 2'000'000, 10'000};
  config_.total_caps = {200'000, 3'000'000, {}};
  config_.price_input = config_.price_output = 1;
  EXPECT_TRUE(warnings().empty());
}

TEST_F(CapAdvice, WarnsOfACapThatIsTooSmallForOneAnswer) {
  config_.caps.day = 2111;
  EXPECT_TRUE(warns("CAP_DAY_TOKENS=2111 is too small for one answer"));
  config_.caps.day = 2112;
  EXPECT_TRUE(warnings().empty());
  config_.caps.day = 0;  // closed
  EXPECT_TRUE(warnings().empty());
  config_.caps.day.reset();
  shop_.caps.visitor_day = 100;
  EXPECT_TRUE(warns("bot shop: CAP_VISITOR_DAY_TOKENS=100 is too small"));
  shop_.caps = {};
  config_.total_caps.month = 100;
  EXPECT_TRUE(warns("CAP_TOTAL_MONTH_TOKENS=100 is too small"));
}

TEST_F(CapAdvice, WarnsOfACapThatAnotherOneHides) {
  config_.caps = {10'000, {}, 20'000};
  EXPECT_TRUE(warns("CAP_VISITOR_DAY_TOKENS=20000 has no effect: CAP_DAY_TOKENS=10000 is reached first"));
  config_.caps = {{}, 10'000, 20'000};
  EXPECT_TRUE(warns("CAP_VISITOR_DAY_TOKENS=20000 has no effect: CAP_MONTH_TOKENS=10000 is reached first"));
  config_.caps = {20'000, 10'000, {}};
  EXPECT_TRUE(warns("CAP_DAY_TOKENS=20000 has no effect: CAP_MONTH_TOKENS=10000"));
  config_.caps = {};
  shop_.caps.day = 20'000;
  config_.total_caps.day = 10'000;
  EXPECT_TRUE(warns("bot shop: CAP_DAY_TOKENS=20000 has no effect: CAP_TOTAL_DAY_TOKENS=10000"));
}

TEST_F(CapAdvice, WarnsOfPricesThatLimitNothing) {
  shop_.price_input = shop_.price_output = 2;
  EXPECT_TRUE(warns("bot shop: prices are set, but no cap"));
  shop_.caps.month = 100'000;
  EXPECT_TRUE(warnings().empty());
  shop_.price_output = 0;
  EXPECT_TRUE(warns("bot shop: PRICE_INPUT is set and PRICE_OUTPUT is not"));
}

TEST_F(CapAdvice, WarnsOfACommandThatIsNeverRun) {
  config_.cap_alert_command = "mail owner";
  EXPECT_TRUE(warns("CAP_ALERT_COMMAND is set, but no cap"));
  config_.caps.day = 100'000;
  EXPECT_TRUE(warnings().empty());
  config_.cap_alert_command = "/nonexistent/mail owner";
  EXPECT_TRUE(warns("CAP_ALERT_COMMAND: /nonexistent/mail cannot be run"));
}

TEST_F(CapAdvice, PutsCapsIntoWords) {
  config_.caps = {100'000, {}, 5'000};
  shop_.caps.day = 0;
  config_.total_caps.month = 3'000'000;
  LedgerReport report;
  report.bots = {
      {.bot = "",
       .caps = {{.scope = "total", .period = "day", .used = 7},
                {.scope = "total", .period = "month", .limit = 3'000'000, .used = 8}}},
      {.bot = "default",
       .caps = {{.scope = "bot", .period = "day", .limit = 100'000, .used = 81'234, .leased = 512}}}};
  auto found = lines(&report);
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0], "caps of all bots: 3000000 tokens a month (8 used, 2999992 left)");
  EXPECT_EQ(found[1],
            "caps of default: 100000 tokens a day (81234 used, 18254 left), 5000 tokens a visitor and day");
  EXPECT_EQ(found[2], "caps of shop: none a day (closed)");
  EXPECT_TRUE(found[3].starts_with("at a cap: new questions get an error"));
  found = lines();
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[1], "caps of default: 100000 tokens a day, 5000 tokens a visitor and day");
}

}  // namespace
}  // namespace bailian
