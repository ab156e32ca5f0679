#include "telemetry/computed_metrics.h"

#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

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

// Adds a family of gauges; add_value() adds its values.
MetricFamily& add_gauges(std::vector<MetricFamily>& families, const char* name, const char* help) {
  return families.emplace_back(MetricFamily{name, help, MetricType::Gauge, {}});
}

void add_value(MetricFamily& family, const CapGauge& cap, std::optional<uint64_t> value) {
  if (!value) return;
  auto& metric = family.metric.emplace_back();
  metric.label = {{"scope", std::string(cap.scope)}, {"period", std::string(cap.period)}};
  if (!cap.bot.empty()) metric.label.push_back({"bot", std::string(cap.bot)});
  metric.gauge.value = static_cast<double>(*value);
}

void add_value(MetricFamily& family, std::string_view bot, double value) {
  auto& metric = family.metric.emplace_back();
  metric.label = {{"bot", std::string(bot)}};
  metric.gauge.value = value;
}

void add_caps(std::vector<MetricFamily>& families, const std::vector<CapGauge>& caps) {
  MetricFamily& used = add_gauges(families, "bailian_cap_used_tokens",
                                  "Tokens used in the running period, of each bot and of all (scope total), "
                                  "whether there is a cap or not.");
  for (const CapGauge& cap : caps) add_value(used, cap, cap.used);
  MetricFamily& limits = add_gauges(families, "bailian_cap_limit_tokens",
                                    "The caps that are set. That of scope visitor is each visitor's.");
  for (const CapGauge& cap : caps) add_value(limits, cap, cap.limit);
  MetricFamily& leased =
      add_gauges(families, "bailian_cap_leased_tokens",
                 "Tokens that answers in progress may still use; they are not in bailian_cap_used_tokens.");
  for (const CapGauge& cap : caps) add_value(leased, cap, cap.leased);
  MetricFamily& alerted = add_gauges(families, "bailian_cap_alerted_percent",
                                     "The latest alert for a cap in the running period: 80, 100 (also when a "
                                     "question was refused), 0: none.");
  for (const CapGauge& cap : caps) {
    if (cap.limit && cap.used) add_value(alerted, cap, static_cast<uint64_t>(cap.alerted_percent));
  }
}

void add_ledger(std::vector<MetricFamily>& families, const LedgerGauges& ledger) {
  add(families, "bailian_ledger_fault", "1 while the ledger cannot be used, else 0.",
      ledger.has_fault ? 1 : 0);
  add_caps(families, ledger.caps);
  MetricFamily& paused =
      add_gauges(families, "bailian_paused", "1 while the owner has paused the bot, or all bots, else 0.");
  for (const LedgerBotGauge& bot : ledger.bots) add_value(paused, bot.bot, bot.is_paused ? 1 : 0);
  MetricFamily& leases =
      add_gauges(families, "bailian_open_leases", "Answers in progress that hold tokens of the ledger.");
  for (const LedgerBotGauge& bot : ledger.bots)
    add_value(leases, bot.bot, static_cast<double>(bot.open_leases));
  MetricFamily& estimated = add_gauges(
      families, "bailian_day_estimated_tokens",
      "Tokens of the running day that are an estimate: DashScope gave no count, or a process was killed.");
  for (const LedgerBotGauge& bot : ledger.bots)
    add_value(estimated, bot.bot, static_cast<double>(bot.estimated_tokens));
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

uint64_t sum_of_counters(const std::vector<MetricFamily>& families, std::string_view label,
                         std::string_view value) {
  double sum = 0;
  for (const MetricFamily& family : families) {
    for (const auto& series : family.metric) {
      const bool counts = std::ranges::any_of(
          series.label, [&](const auto& own) { return own.name == label && own.value == value; });
      if (label.empty() || counts) sum += series.counter.value;
    }
  }
  return static_cast<uint64_t>(sum);
}

void add_computed(std::vector<MetricFamily>& families, const Gauges& gauges, const OwnValues& own) {
  add(families, "bailian_streams_active", "Chats in progress.", gauges.active_streams);
  add(families, "bailian_streams_limit", "MAX_STREAMS, the limit of bailian_streams_active.",
      gauges.stream_limit);
  add_targets(families, gauges.targets);
  if (gauges.ledger) add_ledger(families, *gauges.ledger);
  add(families, "bailian_log_writes_lost_total", "Lost writes to the log, each of one or more lines.",
      static_cast<double>(gauges.lost_log_writes));
  add(families, "bailian_client_sent_bytes_total",
      "Bytes sent to the web server, including headers and FastCGI framing.", own.sent_bytes);
  add(families, "bailian_upstream_received_bytes_total",
      "Bytes of answers received from DashScope, without HTTP and TLS overhead.", own.received_bytes);
  add_process(families, own.open_files);
}

}  // namespace bailian
