#include "ledger/report_json.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "unit/ledger/report_samples.h"

namespace bailian {
namespace {

TEST(ReportJson, HasEveryFigure) {
  EXPECT_EQ(
      report_json(sample_report()),
      R"({"storage":"/var/lib/bailian-fcgi/ledger","fault":"","timezone":"Asia/Shanghai",)"
      R"("day":"2026-11-27","month":"2026-11",)"
      R"("total":{"paused":false,"pause_message":"","open_leases":1,"caps":[)"
      R"({"scope":"total","period":"day","limit":1000,"used":9,"leased":640,"left":351,"has_refused":false},)"
      R"({"scope":"total","period":"month","limit":null,"used":96,"leased":0,"left":null,"has_refused":false}],)"
      R"("month":{"input_tokens":40,"output_tokens":50,"estimated_tokens":6,"answers":7,"cached":8,)"
      R"("refused":9,"money":1.250000},"days":[{"date":"2026-11-27","input_tokens":4,"output_tokens":5,)"
      R"("estimated_tokens":0,"answers":1,"cached":0,"refused":2,"money":0.125000}]},)"
      R"("bots":[{"name":"shop","paused":true,"pause_message":"Back at nine \"sharp\"","open_leases":1,"caps":[)"
      R"({"scope":"bot","period":"day","limit":100,"used":81,"leased":30,"left":0,"has_refused":false},)"
      R"({"scope":"bot","period":"month","limit":90,"used":89,"leased":0,"left":1,"has_refused":true},)"
      R"({"scope":"visitor","period":"day","limit":50,"has_refused":false}],)"
      R"("month":{"input_tokens":40,"output_tokens":50,"estimated_tokens":6,"answers":7,"cached":8,)"
      R"("refused":9,"money":1.250000},"days":[{"date":"2026-11-27","input_tokens":4,"output_tokens":5,)"
      R"("estimated_tokens":0,"answers":1,"cached":0,"refused":2,"money":0.125000},)"
      R"({"date":"2026-11-25","input_tokens":123456,"output_tokens":1234567890,"estimated_tokens":17,)"
      R"("answers":99,"cached":0,"refused":0,"money":12.500000}]}]})");
}

TEST(ReportJson, HasNoMoneyWithoutPrices) {
  LedgerReport report = sample_report();
  for (BotReport& bot : report.bots) {
    bot.month.money.reset();
    for (DaySpent& day : bot.days) day.spent.money.reset();
  }
  EXPECT_EQ(report_json(report).find("money"), std::string::npos);
}

TEST(ReportJson, IsJsonWhateverTheLedgerHolds) {
  LedgerReport report = sample_report();
  report.bots.back().pause_message = "\xff\"\n\\";
  report.fault = "cannot open \"x\"\n";
  JsonDocument document;
  EXPECT_FALSE(parse_json(report_json(report), document));
  EXPECT_FALSE(parse_json(report_json({}), document));
}

}  // namespace
}  // namespace bailian
