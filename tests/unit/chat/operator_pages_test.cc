#include "chat/operator_pages.h"

#include <gtest/gtest.h>

#include <string>

#include "base/json.h"
#include "ledger/report_json.h"
#include "ledger/report_text.h"
#include "unit/ledger/fake_ledger.h"
#include "unit/ledger/report_samples.h"

namespace bailian {
namespace {

using namespace std::chrono_literals;

/// The operator, who waits for the page.
class Operator final : public ClientStream {
 public:
  explicit Operator(EventLoop& loop) : loop_(loop) {}
  void send(const Reply& reply) override {
    body = reply.body;
    loop_.stop();
  }
  void begin(const Reply&) override {}
  void write(std::string_view) override {}
  void abort() noexcept override {}
  void finish() override {}
  [[nodiscard]] size_t unsent_bytes() const override { return 0; }
  [[nodiscard]] uint64_t sent_bytes() const override { return 0; }

  std::string body;

 private:
  EventLoop& loop_;
};

class TargetsInStatus : public testing::Test {
 protected:
  TargetsInStatus() { config_.targets = {target(1), target(2)}; }

  static Target target(int number) {
    Target target;
    target.number = number;
    target.api_key = "key";
    target.app_id = "app" + std::to_string(number);
    target.base_url = "https://a.example:8443/api/v1";
    return target;
  }

  std::string page(const std::string& query = "") {
    EventLoop loop(std::chrono::nanoseconds::zero());
    const ConfigSnapshot snapshot(loop, config_, state_, state_.metrics.add_tally(Traffic::kFromUpstream));
    Operator reader(loop);
    Request request;
    request.query = query;
    const auto exchange = status_page(loop, state_, snapshot, request, reader, {});
    loop.run();
    return reader.body;
  }
  // The table of targets.
  std::string rows() {
    const std::string text = page();
    const size_t start = text.find("\nbot                              target ");
    return start == std::string::npos ? "" : text.substr(text.find('\n', start + 1) + 1);
  }
  static std::string row(const char* target_and_state, const char* application) {
    std::string start = "default                               " + std::string(target_and_state);
    start.resize(54, ' ');
    std::string end = application;
    end.resize(33, ' ');
    return start + end + "a.example:8443\n";
  }
  TargetHealth& health(int number) { return *state_.targets.of(target(number)); }

  Config config_ = load_config({"DASHSCOPE_BASE_URL=http://127.0.0.1:1"}, "/dev/null").config;
  ServiceState state_{config_};
};

TEST_F(TargetsInStatus, AreWellUntilTheyFail) {
  EXPECT_EQ(rows(), row("1 well", "app1") + row("2 well", "app2"));
}

TEST_F(TargetsInStatus, CoolForTheTimeThatIsLeft) {
  health(2).note_failure(CoolDown::kLong, 0s, Clock::now() - 100s);
  JsonDocument document;
  ASSERT_FALSE(parse_json(page("json"), document));
  const auto& second = (*find_member(document, "targets"))[1];
  const uint64_t seconds = find_member(second, "rests_for")->GetUint64();
  EXPECT_LE(seconds, 200U);
  EXPECT_GT(seconds, 100U);
  EXPECT_NE(rows().find("2 cooling "), std::string::npos);
}

TEST_F(TargetsInStatus, AreDueAfterTheirRestThenProbed) {
  health(1).note_failure(CoolDown::kLong, 0s, Clock::now() - 301s);
  EXPECT_EQ(rows(), row("1 due", "app1") + row("2 well", "app2"));
  {
    const auto probe = health(1).admit(Clock::now());
    EXPECT_TRUE(probe && *probe);
    EXPECT_EQ(rows(), row("1 probing", "app1") + row("2 well", "app2"));
  }
  EXPECT_EQ(rows(), row("1 due", "app1") + row("2 well", "app2"));
}

TEST_F(TargetsInStatus, AreNotAskedWithoutAKeyOrAnApplication) {
  config_.targets[0].api_key.clear();
  EXPECT_EQ(rows(), row("1 not asked", "app1") + row("2 well", "app2"));
  config_.targets[0].app_id.clear();
  EXPECT_EQ(rows(), row("1 not asked", "not configured") + row("2 well", "app2"));
}

TEST_F(TargetsInStatus, AreThoseOfBotsWithSeveral) {
  Config bot = config_;
  bot.name = "shop";
  bot.targets = {target(1)};
  config_.bots = {bot};
  EXPECT_EQ(page().find("\nshop                                  1"), std::string::npos);
  config_.targets.pop_back();
  EXPECT_EQ(rows(), "");
  EXPECT_EQ(page("json").find("targets"), std::string::npos);
}

class LedgerInPages : public TargetsInStatus {
 protected:
  LedgerInPages() {
    ledger_.show(sample_report());
    state_.ledger = &ledger_;
  }
  std::string metrics() {
    EventLoop loop(std::chrono::nanoseconds::zero());
    const ConfigSnapshot snapshot(loop, config_, state_, state_.metrics.add_tally(Traffic::kFromUpstream));
    return metrics_page(state_, snapshot).body;
  }

  FakeLedger ledger_;
};

TEST_F(LedgerInPages, IsInTheStatusAsUsagePrintsIt) {
  EXPECT_NE(page().find("\n\n" + report_text(sample_report())), std::string::npos);
  EXPECT_NE(page("json").find(R"(,"ledger":)" + report_json(sample_report()) + "}"), std::string::npos);
  state_.ledger = nullptr;
  EXPECT_EQ(page().find("ledger "), std::string::npos);
  EXPECT_EQ(page("json").find("\"ledger\""), std::string::npos);
}

TEST_F(LedgerInPages, IsInTheMetrics) {
  const std::string text = metrics();
  for (const char* line : {R"(bailian_cap_used_tokens{scope="total",period="day"} 9)",
                           R"(bailian_cap_limit_tokens{scope="visitor",period="day",bot="shop"} 50)",
                           R"(bailian_cap_leased_tokens{scope="bot",period="day",bot="shop"} 30)",
                           R"(bailian_cap_alerted_percent{scope="bot",period="day",bot="shop"} 80)",
                           R"(bailian_paused{bot="shop"} 1)", R"(bailian_open_leases{bot="shop"} 1)",
                           R"(bailian_day_estimated_tokens{bot="shop"} 0)", "bailian_ledger_fault 0"})
    EXPECT_NE(text.find(std::string("\n") + line + "\n"), std::string::npos) << line;
  EXPECT_EQ(text.find(R"(bailian_cap_used_tokens{scope="visitor")"), std::string::npos);
}

TEST_F(LedgerInPages, APauseOfAllPausesEachBot) {
  LedgerReport report = sample_report();
  report.bots.front().is_paused = true;
  report.bots.back().is_paused = false;
  ledger_.show(report);
  EXPECT_NE(metrics().find("bailian_paused{bot=\"shop\"} 1\n"), std::string::npos);
}

}  // namespace
}  // namespace bailian
