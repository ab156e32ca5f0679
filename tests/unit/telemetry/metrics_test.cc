#include "telemetry/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "dashscope/api.h"
#include "telemetry/metric_labels.h"
#include "telemetry/process_stats.h"

namespace bailian {
namespace {

AccessRecord answered(const std::string& model, uint64_t output_tokens) {
  AccessRecord record;
  record.endpoint = Endpoint::kChatStream;
  record.bot = "shop";
  record.status = 200;
  record.is_chat = record.is_complete = true;
  record.model = model;
  record.usage = Usage{3, output_tokens};
  record.first_token = record.started;
  return record;
}

AccessRecord left(bool had_text, uint64_t output_tokens) {
  AccessRecord record = answered("m", output_tokens);
  record.is_complete = false;
  record.outcome = Outcome::kClientGone;
  if (!had_text) record.first_token.reset();
  return record;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(ModelLabels, AreShortAndPlain) {
  for (const char* good : {"qwen-plus", "qwen2.5-72b-instruct", "a/b:c@1+2", "DeepSeek_R1"}) {
    EXPECT_EQ(model_label(good), good);
  }
  EXPECT_EQ(model_label(std::string(64, 'm')).size(), 64U);
  for (const std::string& bad : {std::string(65, 'm'), std::string("a b"), std::string("a\"b"),
                                 std::string("a\nb"), std::string("a\\b"), std::string("模型"),
                                 std::string("a\0b", 3), std::string("a{b}"), std::string("sk-***")}) {
    EXPECT_EQ(model_label(bad), "other") << bad;
  }
  EXPECT_EQ(model_label(""), "unknown");
}

TEST(ModelLabels, AreNotMoreThanTwentyAndOther) {
  Metrics metrics;
  for (int i = 0; i < 100; ++i) {
    metrics.count_request(answered("m" + std::to_string(i), 1), Clock::time_point());
  }
  metrics.count_request(answered("m0", 1), Clock::time_point());
  const std::string text = metrics.text({});
  EXPECT_TRUE(has_line(text, R"(bailian_tokens_total{bot="shop",model="m0",type="output"} 2)"));
  EXPECT_TRUE(has_line(text, R"(bailian_tokens_total{bot="shop",model="m19",type="input"} 3)"));
  EXPECT_EQ(text.find("m20"), std::string::npos);
  EXPECT_TRUE(has_line(text, R"(bailian_tokens_total{bot="shop",model="other",type="output"} 80)"));
}

TEST(LedgerMetrics, AreThereIfThereIsALedger) {
  const Metrics metrics;
  EXPECT_EQ(metrics.text({}).find("bailian_ledger_fault"), std::string::npos);
  Gauges gauges;
  gauges.ledger.emplace();
  EXPECT_TRUE(has_line(metrics.text(gauges), "bailian_ledger_fault 0"));
  gauges.ledger->has_fault = true;
  EXPECT_TRUE(has_line(metrics.text(gauges), "bailian_ledger_fault 1"));
}

TEST(LedgerMetrics, HaveEachCap) {
  Gauges gauges;
  gauges.ledger.emplace();
  gauges.ledger->caps = {{"total", "", "month", {}, 70, 8, 0},
                         {"bot", "shop", "day", 100, 81, 12, 80},
                         {"visitor", "shop", "day", 50, {}, {}, 0}};
  gauges.ledger->bots = {{"shop", true, 3, 17}, {"default", false, 0, 0}};
  const std::string text = Metrics().text(gauges);
  for (const char* line :
       {R"(bailian_cap_used_tokens{scope="total",period="month"} 70)",
        R"(bailian_cap_used_tokens{scope="bot",period="day",bot="shop"} 81)",
        R"(bailian_cap_limit_tokens{scope="bot",period="day",bot="shop"} 100)",
        R"(bailian_cap_limit_tokens{scope="visitor",period="day",bot="shop"} 50)",
        R"(bailian_cap_leased_tokens{scope="total",period="month"} 8)",
        R"(bailian_cap_leased_tokens{scope="bot",period="day",bot="shop"} 12)",
        R"(bailian_cap_alerted_percent{scope="bot",period="day",bot="shop"} 80)",
        R"(bailian_paused{bot="shop"} 1)", R"(bailian_paused{bot="default"} 0)",
        R"(bailian_open_leases{bot="shop"} 3)", R"(bailian_day_estimated_tokens{bot="shop"} 17)"})
    EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
  for (const char* absent :
       {R"(bailian_cap_limit_tokens{scope="total")", R"(bailian_cap_used_tokens{scope="visitor")",
        R"(bailian_cap_leased_tokens{scope="visitor")", R"(bailian_cap_alerted_percent{scope="visitor")"})
    EXPECT_EQ(text.find(absent), std::string::npos) << absent;
}

TEST(Refusals, AreCountedByCode) {
  Metrics metrics;
  metrics.count_refusal("shop", "paused");
  metrics.count_refusal("shop", "paused");
  metrics.count_refusal("shop", "budget_used_up");
  EXPECT_TRUE(has_line(metrics.text({}), R"(bailian_refusals_total{bot="shop",code="paused"} 2)"));
  EXPECT_TRUE(has_line(metrics.text({}), R"(bailian_refusals_total{bot="shop",code="budget_used_up"} 1)"));
}

TEST(Estimates, AreTheMeanOfCompleteAnswersLessWhatHadCome) {
  const auto estimate = [](const Metrics& metrics, int tokens) {
    return has_line(metrics.text({}),
                    "bailian_tokens_not_generated_estimate_total " + std::to_string(tokens));
  };
  Metrics metrics;
  metrics.count_request(left(false, 0), Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 0)) << "no complete answer yet";
  metrics.count_request(answered("m", 10), Clock::time_point());
  metrics.count_request(answered("m", 30), Clock::time_point());
  metrics.count_request(left(false, 0), Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 20));
  metrics.count_request(left(true, 15), Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 25));
  metrics.count_request(left(true, 50), Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 25)) << "longer than the mean already";
  metrics.count_request(left(true, 0), Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 25)) << "nobody knows how many tokens its text had";
  AccessRecord complete = answered("m", 20);
  complete.outcome = Outcome::kClientGone;
  metrics.count_request(complete, Clock::time_point());
  EXPECT_TRUE(estimate(metrics, 25)) << "all of it was generated";
}

TEST(MetricsText, HasEveryLabelOfEveryRequest) {
  Metrics metrics;
  for (const EndpointRow& endpoint : kEndpoints) {
    for (const OutcomeRow& outcome : kOutcomes) {
      for (const int status : {-1, 0, 99, 200, 304, 404, 503, 600, 100000}) {
        AccessRecord record;
        record.endpoint = endpoint.value;
        record.outcome = outcome.value;
        record.status = status;
        metrics.count_request(record, Clock::time_point());
      }
    }
  }
  const std::string text = metrics.text({3, 10, 2});
  for (const char* line :
       {R"(bailian_requests_total{endpoint="other",outcome="done",status="none"} 5)",
        R"(bailian_requests_total{endpoint="ping",outcome="timeout",status="5xx"} 1)",
        "bailian_streams_active 3", "bailian_streams_limit 10", "bailian_log_writes_lost_total 2"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
}

TEST(MetricsText, HasTheSeriesOfABotFromTheStart) {
  Metrics metrics;
  for (int i = 0; i < 2; ++i) {
    metrics.add_bot("shop");
    metrics.add_target("shop", 2);
  }
  const std::string text = metrics.text({});
  for (const char* line :
       {R"(bailian_requests_total{bot="shop",endpoint="stream",outcome="done",status="2xx"} 0)",
        R"(bailian_chat_duration_seconds_count{bot="shop",mode="json",outcome="error"} 0)",
        R"(bailian_time_to_first_token_seconds_count{bot="shop",mode="stream"} 0)",
        R"(bailian_upstream_requests_total{bot="shop",target="2"} 0)",
        R"(bailian_upstream_retries_total{bot="shop",target="2"} 0)"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
}

TEST(MetricsText, TellsTargetsApart) {
  Metrics metrics;
  metrics.count_upstream_request("shop", 1);
  metrics.count_upstream_request("shop", 2);
  metrics.count_upstream_request("shop", 2);
  metrics.count_retry("shop", 2);
  metrics.count_upstream_error("shop", 3, "Throttling", "throttled");
  metrics.count_failover("shop", 3, 1);
  Gauges gauges;
  gauges.targets = {{"shop", 1, false}, {"shop", 2, true}, {"help", 1, true}};
  const std::string text = metrics.text(gauges);
  for (const char* line :
       {R"(bailian_upstream_requests_total{bot="shop",target="1"} 1)",
        R"(bailian_upstream_requests_total{bot="shop",target="2"} 2)",
        R"(bailian_upstream_retries_total{bot="shop",target="2"} 1)",
        R"(bailian_upstream_errors_total{bot="shop",code="Throttling",fault="throttled",target="3"} 1)",
        R"(bailian_failovers_total{bot="shop",from="3",to="1"} 1)",
        R"(bailian_target_cooling{bot="shop",target="1"} 0)",
        R"(bailian_target_cooling{bot="shop",target="2"} 1)",
        R"(bailian_target_cooling{bot="help",target="1"} 1)"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
}

TEST(MetricsText, PutsTimesIntoBuckets) {
  Metrics metrics;
  metrics.add_bot("shop");
  AccessRecord record = answered("m", 1);
  record.first_token = record.started + std::chrono::milliseconds(400);
  metrics.count_request(record, record.started + std::chrono::seconds(4));
  const std::string text = metrics.text({});
  for (const char* line :
       {R"(bailian_time_to_first_token_seconds_bucket{bot="shop",mode="stream",le="0.25"} 0)",
        R"(bailian_time_to_first_token_seconds_bucket{bot="shop",mode="stream",le="0.5"} 1)",
        R"(bailian_time_to_first_token_seconds_sum{bot="shop",mode="stream"} 0.4)",
        R"(bailian_chat_duration_seconds_bucket{bot="shop",mode="stream",outcome="done",le="2.5"} 0)",
        R"(bailian_chat_duration_seconds_bucket{bot="shop",mode="stream",outcome="done",le="5"} 1)",
        R"(bailian_chat_duration_seconds_count{bot="shop",mode="json",outcome="done"} 0)"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
}

TEST(MetricsText, IsWholeWhileOthersCount) {
  constexpr int kThreads = 3;
  constexpr int kRequests = 2000;
  Metrics metrics;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&metrics] {
      Tally& sent = metrics.add_tally(Traffic::kToClients);
      for (int j = 0; j < kRequests; ++j) {
        sent += 10;
        metrics.count_request(answered("m" + std::to_string(j % 30), 1), Clock::time_point());
        metrics.count_upstream_error("shop", 1, "Throttling", "throttled");
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(metrics.text({}).ends_with('\n'));
  for (std::thread& thread : threads) thread.join();
  const std::string text = metrics.text({});
  for (const char* line :
       {R"(bailian_requests_total{bot="shop",endpoint="stream",outcome="done",status="2xx"} 6000)",
        R"(bailian_upstream_errors_total{bot="shop",code="Throttling",fault="throttled",target="1"} 6000)",
        "bailian_client_sent_bytes_total 60000"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
}

TEST(Totals, AddUpEverySeries) {
  Metrics metrics;
  const Totals none = metrics.totals();
  for (const uint64_t requests : none.requests) EXPECT_EQ(requests, 0U);
  AccessRecord health;
  health.endpoint = Endpoint::kHealth;
  health.status = 200;
  metrics.count_request(health, Clock::time_point());
  for (const AccessRecord& record : {answered("m", 10), answered("n", 5), left(true, 2)}) {
    metrics.count_request(record, Clock::time_point());
  }
  metrics.count_upstream_error("shop", 1, "Throttling", "throttled");
  metrics.count_upstream_error("shop", 1, "InvalidApiKey", "auth");
  metrics.count_upstream_error("shop", 1, "InvalidApiKey", "auth");
  metrics.count_retry("shop", 1);
  metrics.count_reload(true);
  metrics.count_reload(true);
  metrics.count_reload(false);
  const Totals totals = metrics.totals();
  EXPECT_EQ(totals.requests.at(static_cast<size_t>(Outcome::kDone)), 3U);
  EXPECT_EQ(totals.requests.at(static_cast<size_t>(Outcome::kError)), 0U);
  EXPECT_EQ(totals.requests.at(static_cast<size_t>(Outcome::kClientGone)), 1U);
  EXPECT_EQ(totals.input_tokens, 9U);
  EXPECT_EQ(totals.output_tokens, 17U);
  EXPECT_EQ(totals.upstream_errors, 3U);
  EXPECT_EQ(totals.retries, 1U);
  EXPECT_EQ(totals.reloads, 2U);
  EXPECT_EQ(totals.failed_reloads, 1U);
}

TEST(ProcessStats, AreThoseOfThisProcess) {
  rusage before{};
  // Time in the kernel counts as well: several of its ticks.
  do {
    ASSERT_EQ(::access("/proc/self/stat", R_OK), 0);
    ASSERT_EQ(getrusage(RUSAGE_SELF, &before), 0);
  } while (before.ru_stime.tv_sec == 0 && before.ru_stime.tv_usec < 100'000);
  const auto read = read_process_stats();
  ASSERT_TRUE(read);
  const ProcessStats& stats = *read;
  rusage usage{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  const auto peak_bytes = static_cast<double>(usage.ru_maxrss) * 1024;
  EXPECT_GT(stats.resident_bytes, peak_bytes / 10);
  EXPECT_LT(stats.resident_bytes, peak_bytes * 2);
  EXPECT_GT(stats.virtual_bytes, stats.resident_bytes);
  EXPECT_GE(stats.threads, 1);
  EXPECT_GT(stats.start_time_seconds, 1.6e9);
  const auto cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
  EXPECT_LE(stats.cpu_seconds, cpu + 2);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  constexpr double kTicks = 0.03;  // each of the two times may lack one
  EXPECT_GE(stats.cpu_seconds, seconds(before.ru_utime) + seconds(before.ru_stime) - kTicks);
}

TEST(OpenFiles, AreCountedAlikeInBothWays) {
  std::optional<uint64_t> listed;
  {
    OpenFiles listing(false);
    EXPECT_EQ(listing.count(), std::nullopt) << "the first count has only begun";
    while (!listed) listed = listing.count();
  }  // its thread, which has the directory open for the next count, has ended
  EXPECT_GE(*listed, 3U);
  if (OpenFiles counting; counting.count().value_or(0) > 0) {
    EXPECT_EQ(counting.count(), listed);
  }
}

}  // namespace
}  // namespace bailian
