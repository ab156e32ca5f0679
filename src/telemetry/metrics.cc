#include "telemetry/metrics.h"

#include <prometheus/text_serializer.h>
#include <sys/resource.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "base/text.h"
#include "telemetry/metric_families.h"
#include "telemetry/process_stats.h"

namespace bailian {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr size_t kMaxModelBytes = 64;

// A family of one number, which is read only when it is asked for.
struct Sample {
  const char* name;
  const char* help;
  MetricType type;
  double value;
};

MetricFamily family_of(const Sample& sample) {
  MetricFamily family{sample.name, sample.help, sample.type, {}};
  family.metric.resize(1);
  family.metric.front().gauge.value = sample.value;
  family.metric.front().counter.value = sample.value;
  return family;
}

uint64_t sum_of(const Counter& counter) { return static_cast<uint64_t>(counter.Value()); }

uint64_t sum_of(const Family<Counter>& family) {
  double sum = 0;
  for (const MetricFamily& collected : family.Collect()) {
    for (const auto& metric : collected.metric) sum += metric.counter.value;
  }
  return static_cast<uint64_t>(sum);
}

// Without memory a count is wrong, but no request fails.
void count_safely(const auto& count) noexcept {
  try {
    count();
  } catch (const std::exception&) {
  }
}

void add_process_stats(std::vector<Sample>& samples) {
  const auto stats = read_process_stats();
  if (!stats) return;
  samples.insert(
      samples.end(),
      {{"process_cpu_seconds_total", "User and system CPU time of the process.", MetricType::Counter,
        stats->cpu_seconds},
       {"process_start_time_seconds", "Start of the process, in seconds since 1970.", MetricType::Gauge,
        stats->start_time_seconds},
       {"process_resident_memory_bytes", "Resident memory.", MetricType::Gauge, stats->resident_bytes},
       {"process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge, stats->virtual_bytes},
       {"process_threads", "Threads.", MetricType::Gauge, stats->threads}});
}

// By the names that all Prometheus clients use.
void add_process(std::vector<Sample>& samples, std::optional<uint64_t> open_files) {
  add_process_stats(samples);
  if (open_files) {
    samples.push_back(
        {"process_open_fds", "Open file descriptors.", MetricType::Gauge, static_cast<double>(*open_files)});
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  samples.push_back({"process_max_fds", "Limit on open file descriptors.", MetricType::Gauge,
                     static_cast<double>(limit.rlim_cur)});
}

}  // namespace

std::string_view model_label(std::string_view model) {
  const auto is_plain = [](char c) {
    return is_alnum(c) || std::string_view("-_.:/@+").find(c) != std::string_view::npos;
  };
  if (model.empty()) return "unknown";
  if (model.size() > kMaxModelBytes) return kOtherModel;
  return std::all_of(model.begin(), model.end(), is_plain) ? model : kOtherModel;
}

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

Tally& Metrics::add_tally(Traffic traffic) {
  const std::lock_guard lock(families_->mutex);
  return families_->tallies.at(index_of(traffic)).emplace_back();
}

void Metrics::count_request(const AccessRecord& record, Clock::time_point now) noexcept {
  count_safely([&] {
    families_->request(record.resource, record.outcome, record.status).Increment();
    if (record.is_chat) families_->count_chat(record, now);
  });
}

void Metrics::count_upstream_error(std::string_view code, std::string_view fault) noexcept {
  count_safely([&] {
    families_->upstream_errors.Add({{"code", std::string(code)}, {"fault", std::string(fault)}}).Increment();
  });
}

void Metrics::count_upstream_request() noexcept { families_->upstream_requests.Increment(); }

void Metrics::count_retry() noexcept { families_->retries.Increment(); }

void Metrics::count_answered_fallback() noexcept { families_->answered_fallbacks.Increment(); }

void Metrics::count_pause() noexcept { families_->pauses.Increment(); }

void Metrics::count_reload(bool good) noexcept { families_->reload.at(good ? 1 : 0)->Increment(); }

Totals Metrics::totals() const {
  Totals totals;
  for (const auto& of_endpoint : families_->request_counters) {
    for (size_t outcome = 0; outcome < kOutcomes; ++outcome) {
      for (const auto& known : of_endpoint.at(outcome)) {
        const Counter* const counter = known.load(std::memory_order_acquire);
        if (counter != nullptr) totals.requests.at(outcome) += sum_of(*counter);
      }
    }
  }
  totals.upstream_errors = sum_of(families_->upstream_errors);
  totals.retries = sum_of(families_->retries);
  totals.reloads = sum_of(*families_->reload.at(1));
  totals.failed_reloads = sum_of(*families_->reload.at(0));
  const std::lock_guard lock(families_->mutex);
  for (const auto& [name, model] : families_->models) {
    totals.input_tokens += sum_of(model.input);
    totals.output_tokens += sum_of(model.output);
  }
  return totals;
}

std::string Metrics::text(const Gauges& gauges) const {
  std::vector<Sample> samples = {
      {"bailian_streams_active", "Chats in progress.", MetricType::Gauge, double(gauges.active_streams)},
      {"bailian_streams_limit", "MAX_STREAMS, the limit of bailian_streams_active.", MetricType::Gauge,
       double(gauges.stream_limit)},
      {"bailian_log_writes_lost_total", "Writes to the log, each of one or more lines, that were lost.",
       MetricType::Counter, static_cast<double>(gauges.lost_log_writes)},
      {"bailian_client_sent_bytes_total",
       "Bytes sent to the web server, including headers and FastCGI framing.", MetricType::Counter,
       families_->traffic(Traffic::kToClients)},
      {"bailian_upstream_received_bytes_total",
       "Bytes of answers received from DashScope, without HTTP and TLS overhead.", MetricType::Counter,
       families_->traffic(Traffic::kFromUpstream)}};
  add_process(samples, families_->count_open_files());
  std::vector<MetricFamily> all = families_->registry.Collect();
  for (const Sample& sample : samples) all.push_back(family_of(sample));
  std::ostringstream text;
  text.exceptions(std::ios::badbit);  // without memory the text would end early and look complete
  prometheus::TextSerializer().Serialize(text, all);
  return text.str();
}

}  // namespace bailian
