#include "ledger/report_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "unit/ledger/report_samples.h"

namespace bailian {
namespace {

TEST(ReportText, IsATableForEachBot) {
  EXPECT_EQ(report_text(sample_report()),
            "ledger /var/lib/bailian-fcgi/ledger, day 2026-11-27 (Asia/Shanghai)\n"
            "\n"
            "all bots\n"
            "  answers in progress: 1\n"
            "  cap  limit  used  leased  left\n"
            "  day   1000     9     640   351  1 %\n"
            "\n"
            "  period      in  out  estimated  answers  cached  refused  money\n"
            "  2026-11-27   4    5          0        1       0        2   0.12\n"
            "  2026-11     40   50          6        7       8        9   1.25\n"
            "\n"
            "bot shop: paused\n"
            "  visitors read: Back at nine \"sharp\"\n"
            "  answers in progress: 1\n"
            "  cap            limit  used  leased  left\n"
            "  day              100    81      30     0  81 %\n"
            "  month             90    89       0     1  99 %, used up\n"
            "  visitor's day     50     -       -     -\n"
            "\n"
            "  period          in      out  estimated  answers  cached  refused  money\n"
            "  2026-11-27       4        5          0        1       0        2   0.12\n"
            "  2026-11-25  123456  1234.5M         17       99       0        0  12.50\n"
            "  2026-11         40       50          6        7       8        9   1.25\n");
}

TEST(ReportText, OfOneBotIsNotSaidTwice) {
  LedgerReport report = sample_report();
  report.bots.front().caps.front().limit.reset();
  EXPECT_EQ(report_text(report).find("all bots"), std::string::npos);
  report.bots.front().is_paused = true;
  EXPECT_NE(report_text(report).find("all bots: paused"), std::string::npos);
}

TEST(ReportText, FitsInto80Columns) {
  LedgerReport report = sample_report();
  constexpr uint64_t kMany = 99'999'999;
  BotReport& bot = report.bots.back();
  bot.bot = std::string(32, 'b');
  bot.days = {{"2026-11-27", {kMany, kMany, kMany, 9'999'999, 999'999, 999'999, 99'999.99}}};
  bot.caps = {{.scope = "bot", .period = "day", .limit = kMany, .used = kMany, .leased = kMany}};
  const std::string text = report_text(report);
  for (size_t from = 0; from < text.size();) {
    const size_t end = text.find('\n', from);
    EXPECT_LE(end - from, 80U) << text.substr(from, end - from);
    from = end + 1;
  }
}

TEST(ReportText, SaysWhatIsWrong) {
  LedgerReport report = sample_report();
  report.fault = "no space\x1b[2J left";
  EXPECT_NE(report_text(report).find("\nfault: no space [2J left\n"), std::string::npos);
  report.bots.back().caps = {{.scope = "bot", .period = "day", .limit = 0}};
  EXPECT_NE(report_text(report).find("  day      0     0       0     0  closed\n"), std::string::npos);
}

TEST(Tokens, AreExactUpToAHundredMillion) {
  EXPECT_EQ(tokens_text(0), "0");
  EXPECT_EQ(tokens_text(99'999'999), "99999999");
  EXPECT_EQ(tokens_text(1'234'567'890), "1234.5M");
  EXPECT_EQ(tokens_text(std::numeric_limits<uint64_t>::max()), "18446744073709.5M");
}

}  // namespace
}  // namespace bailian
