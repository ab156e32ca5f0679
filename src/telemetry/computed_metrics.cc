#include "telemetry/computed_metrics.h"

#include <sys/resource.h>

#include <string>

#include "telemetry/process_stats.h"

namespace bailian {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// Adds a family with one value: a counter if its name ends in `_total`.
void add(std::vector<MetricFamily>& families, const std::string& name, const char* help, double value) {
  const MetricType type = name.ends_with("_total") ? MetricType::Counter : MetricType::Gauge;
  families.push_back({name, help, type, {}});
  auto& metric = families.back().metric.emplace_back();
  metric.gauge.value = metric.counter.value = value;
}

void add_targets(std::vector<MetricFamily>& families, const std::vector<TargetGauge>& targets) {
  families.push_back({"bailian_target_cooling",
                      "1 while a target rests after a failure, else 0; others are asked first.",
                      MetricType::Gauge,
                      {}});
  for (const TargetGauge& target : targets) {
    auto& metric = families.back().metric.emplace_back();
    metric.label = {{"bot", std::string(target.bot)}, {"target", std::to_string(target.number)}};
    metric.gauge.value = target.is_cooling ? 1 : 0;
  }
}

// With the names that all Prometheus clients use.
void add_process(std::vector<MetricFamily>& families, std::optional<uint64_t> open_files) {
  if (const auto stats = read_process_stats()) {
    add(families, "process_cpu_seconds_total", "User and system CPU time of the process.",
        stats->cpu_seconds);
    add(families, "process_start_time_seconds", "Start of the process, in seconds since 1970.",
        stats->start_time_seconds);
    add(families, "process_resident_memory_bytes", "Resident memory.", stats->resident_bytes);
    add(families, "process_virtual_memory_bytes", "Virtual memory.", stats->virtual_bytes);
    add(families, "process_threads", "Threads.", stats->threads);
  }
  if (open_files)
    add(families, "process_open_fds", "Open file descriptors.", static_cast<double>(*open_files));
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  add(families, "process_max_fds", "Limit on open file descriptors.", static_cast<double>(limit.rlim_cur));
}

}  // namespace

void add_computed(std::vector<MetricFamily>& families, const Gauges& gauges, const OwnValues& own) {
  add(families, "bailian_streams_active", "Chats in progress.", gauges.active_streams);
  add(families, "bailian_streams_limit", "MAX_STREAMS, the limit of bailian_streams_active.",
      gauges.stream_limit);
  add_targets(families, gauges.targets);
  add(families, "bailian_log_writes_lost_total", "Lost writes to the log, each of one or more lines.",
      static_cast<double>(gauges.lost_log_writes));
  add(families, "bailian_client_sent_bytes_total",
      "Bytes sent to the web server, including headers and FastCGI framing.", own.sent_bytes);
  add(families, "bailian_upstream_received_bytes_total",
      "Bytes of answers received from DashScope, without HTTP and TLS overhead.", own.received_bytes);
  add_process(families, own.open_files);
}

}  // namespace bailian
