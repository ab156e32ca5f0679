// Measures the cost of counting per token and per request, and of a scrape for the loop that answers it.

#include "telemetry/metrics.h"

#include <benchmark/benchmark.h>

#include <string>

namespace bailian {
namespace {

AccessRecord chat(const std::string& model) {
  AccessRecord record;
  record.endpoint = Endpoint::kChatStream;
  record.bot = "default";
  record.status = 200;
  record.is_chat = record.is_complete = true;
  record.model = model;
  record.usage = Usage{30, 200};
  record.first_token = record.started;
  return record;
}

void count_a_token(benchmark::State& state) {
  Metrics metrics;
  Tally& sent = metrics.add_tally(Traffic::kToClients);
  for (auto _ : state) {
    sent += 120;
    benchmark::ClobberMemory();
  }
}
BENCHMARK(count_a_token);

void count_a_chat(benchmark::State& state) {
  static Metrics metrics;
  const AccessRecord record = chat("qwen-plus");
  for (auto _ : state) metrics.count_request(record, record.started + std::chrono::seconds(5));
}
BENCHMARK(count_a_chat);

// Every possible series: all requests, all models, more codes than are documented.
void scrape_with_every_series(benchmark::State& state) {
  Metrics metrics;
  for (int resource = 0; resource <= static_cast<int>(Endpoint::kPing); ++resource) {
    for (const Outcome outcome : {Outcome::kDone, Outcome::kError, Outcome::kClientGone, Outcome::kTimeout}) {
      for (const int status : {0, 200, 300, 400, 500}) {
        AccessRecord record = chat("m" + std::to_string(resource * 20 + status / 100));
        record.endpoint = static_cast<Endpoint>(resource);
        record.outcome = outcome;
        record.status = status;
        metrics.count_request(record, record.started + std::chrono::seconds(5));
      }
    }
  }
  for (int code = 0; code < 80; ++code)
    metrics.count_upstream_error("default", 1, "Some.Documented.Code" + std::to_string(code), "failed");
  for (int loop = 0; loop < 64; ++loop) {
    metrics.add_tally(Traffic::kToClients) += 1;
    metrics.add_tally(Traffic::kFromUpstream) += 1;
  }
  size_t bytes = 0;
  for (auto _ : state) bytes = metrics.text({}).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(scrape_with_every_series);

}  // namespace
}  // namespace bailian
