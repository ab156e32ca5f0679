#include "telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "telemetry/process_stats.h"

namespace bailian {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

// The values of the labels.
constexpr std::array<const char*, 6> kStatuses = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

constexpr size_t kStreamMode = 0;
constexpr size_t kJsonMode = 1;
constexpr std::array<const char*, 2> kModes = {"stream", "json"};

constexpr size_t kWaiting = 0;
constexpr size_t kStreaming = 1;
constexpr size_t kSending = 2;
constexpr std::array<const char*, 3> kPhases = {"waiting", "streaming", "sending"};
constexpr std::array<const char*, 2> kReasons = {"left", "too_slow"};

constexpr size_t kMaxModels = 20;
constexpr size_t kMaxModelBytes = 64;
constexpr std::string_view kOtherModel = "other";

const std::vector<double> kFirstTokenBuckets = {0.1, 0.25, 0.5, 0.75, 1,  1.5, 2, 3,
                                                5,   7.5,  10,  15,   20, 30,  60};
const std::vector<double> kDurationBuckets = {0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300};

size_t index_of(auto value) { return static_cast<size_t>(value); }

size_t status_class(int status) {
  const auto hundreds = static_cast<size_t>(std::max(status, 0) / 100);
  return hundreds < kStatuses.size() ? hundreds : 0;
}

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

MetricFamily single(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family{name, help, type, {}};
  family.metric.resize(1);
  family.metric.front().gauge.value = value;
  family.metric.front().counter.value = value;
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

void count_safely(const auto& count) noexcept {
  try {
    count();
  } catch (const std::exception&) {  // out of memory
  }
}

}  // namespace

std::string_view model_label(std::string_view model) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:/@+").find(c) != std::string_view::npos;
  };
  if (model.empty()) return "unknown";
  return model.size() <= kMaxModelBytes && std::all_of(model.begin(), model.end(), is_plain) ? model
                                                                                             : kOtherModel;
}

struct Metrics::Families {
  struct Model {
    Counter& input;
    Counter& output;
  };

  Families() {
    prometheus::BuildGauge()
        .Name("bailian_build_info")
        .Help("Always 1; the label has the version of the program.")
        .Register(registry)
        .Add({{"version", BAILIAN_VERSION}})
        .Set(1);
    // What a rate is to be taken of should be there before it first happens.
    for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kChatStream}) {
      for (const auto& [outcome, status] : {std::pair{Outcome::kDone, 200},
                                            {Outcome::kError, 200},
                                            {Outcome::kError, 400},
                                            {Outcome::kError, 500},
                                            {Outcome::kTimeout, 200},
                                            {Outcome::kTimeout, 500},
                                            {Outcome::kClientGone, 0},
                                            {Outcome::kClientGone, 200}}) {
        request(endpoint, outcome, status);
      }
    }
    for (size_t mode = 0; mode < kModes.size(); ++mode) {
      first_token[mode] = &first_tokens.Add({{"mode", kModes.at(mode)}}, kFirstTokenBuckets);
      for (size_t outcome = 0; outcome < kOutcomes.size(); ++outcome) {
        duration.at(mode).at(outcome) =
            &durations.Add({{"mode", kModes.at(mode)}, {"outcome", std::string(kOutcomes.at(outcome).name)}},
                           kDurationBuckets);
      }
    }
    for (size_t reason = 0; reason < kReasons.size(); ++reason) {
      for (size_t phase = 0; phase < kPhases.size(); ++phase) {
        abort.at(reason).at(phase) =
            &aborts.Add({{"reason", kReasons.at(reason)}, {"phase", kPhases.at(phase)}});
      }
    }
  }

  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Counter& counter(const char* name, const char* help) { return counters(name, help).Add({}); }
  Family<Histogram>& histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  Counter& request(Endpoint endpoint, Outcome outcome, int status) {
    auto& known = request_counters.at(index_of(endpoint)).at(index_of(outcome)).at(status_class(status));
    if (Counter* const counter = known.load(std::memory_order_acquire)) return *counter;
    Counter& counter = requests.Add({{"endpoint", std::string(kEndpoints.at(index_of(endpoint)).name)},
                                     {"outcome", std::string(name_of(outcome))},
                                     {"status", kStatuses.at(status_class(status))}});
    known.store(&counter, std::memory_order_release);
    return counter;
  }

  // Guarded by mutex.
  Model& model(std::string_view name) {
    std::string_view label = model_label(name);
    if (models.size() >= kMaxModels && !models.contains(label)) label = kOtherModel;
    const auto known = models.find(label);
    if (known != models.end()) return known->second;
    const std::string made(label);
    return models
        .emplace(made, Model{tokens.Add({{"model", made}, {"type", "input"}}),
                             tokens.Add({{"model", made}, {"type", "output"}})})
        .first->second;
  }

  void count_chat(const AccessRecord& record, Clock::time_point now) {
    const size_t mode = record.endpoint == Endpoint::kChatStream ? kStreamMode : kJsonMode;
    duration.at(mode).at(index_of(record.outcome))->Observe(seconds_between(record.started, now));
    if (record.first_token) {
      first_token.at(mode)->Observe(seconds_between(record.started, *record.first_token));
    }
    if (record.usage) count_usage(record);
    if (record.outcome == Outcome::kClientGone) count_abort(record);
  }

  void count_usage(const AccessRecord& record) {
    const auto output = static_cast<double>(record.usage->output_tokens);
    const std::lock_guard lock(mutex);
    Model& of_model = model(record.model);
    of_model.input.Increment(static_cast<double>(record.usage->input_tokens));
    of_model.output.Increment(output);
    if (!record.is_complete || record.usage->output_tokens == 0) return;
    whole_answers += 1;
    whole_answers_tokens += output;
  }

  void count_abort(const AccessRecord& record) {
    const size_t phase = record.is_complete ? kSending : record.first_token ? kStreaming : kWaiting;
    abort.at(record.has_stalled ? 1 : 0).at(phase)->Increment();
    const uint64_t had = record.usage ? record.usage->output_tokens : 0;
    const bool unknown = phase == kStreaming && had == 0;
    if (phase == kSending || unknown) return;
    const std::lock_guard lock(mutex);
    if (whole_answers == 0) return;
    not_generated.Increment(std::max(0.0, whole_answers_tokens / whole_answers - static_cast<double>(had)));
  }

  void add_traffic(std::vector<MetricFamily>& families, Traffic traffic, const char* name, const char* help) {
    double bytes = 0;
    for (const Tally& tally : tallies.at(index_of(traffic))) bytes += static_cast<double>(tally.sum());
    families.push_back(single(name, help, MetricType::Counter, bytes));
  }

  // The names that all Prometheus clients use.
  void add_process(std::vector<MetricFamily>& families) {
    if (const auto stats = read_process_stats()) add_process_stats(families, *stats);
    if (const auto files = count_open_files()) {
      families.push_back(single("process_open_fds", "Open file descriptors.", MetricType::Gauge,
                                static_cast<double>(*files)));
    }
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    families.push_back(single("process_max_fds", "Limit on open file descriptors.", MetricType::Gauge,
                              static_cast<double>(limit.rlim_cur)));
  }

  std::optional<uint64_t> count_open_files() {
    const std::lock_guard lock(open_files_mutex);
    return open_files.count();
  }

  static void add_process_stats(std::vector<MetricFamily>& families, const ProcessStats& stats) {
    families.push_back(single("process_cpu_seconds_total", "User and system CPU time of the process.",
                              MetricType::Counter, stats.cpu_seconds));
    families.push_back(single("process_start_time_seconds", "Start of the process, in seconds since 1970.",
                              MetricType::Gauge, stats.start_time_seconds));
    families.push_back(
        single("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge, stats.resident_bytes));
    families.push_back(
        single("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge, stats.virtual_bytes));
    families.push_back(single("process_threads", "Threads.", MetricType::Gauge, stats.threads));
  }

  prometheus::Registry registry;
  Family<Counter>& requests =
      counters("bailian_requests_total",
               "Requests that have ended, by endpoint, outcome and status class (none: nothing was sent).");
  Family<Histogram>& first_tokens = histograms(
      "bailian_time_to_first_token_seconds", "Chats: time from the request to the first text of the answer.");
  Family<Histogram>& durations =
      histograms("bailian_chat_duration_seconds", "Chats: time from the request to its end.");
  Family<Counter>& tokens =
      counters("bailian_tokens_total",
               "Tokens of chats that have ended, including failed and abandoned ones, as DashScope reports "
               "them. The first 20 models have a label each, later ones share other.");
  Family<Counter>& upstream_errors =
      counters("bailian_upstream_errors_total",
               "Failed attempts to get an answer, including those that were retried. code is DashScope's or, "
               "in lower case, ours; other: not documented; none: no code, as in a gateway's error page.");
  Counter& upstream_requests =
      counter("bailian_upstream_requests_total", "Requests sent to DashScope; each may be billed.");
  Counter& retries = counter("bailian_upstream_retries_total", "Retries after a failed attempt.");
  Counter& answered_fallbacks = counter("bailian_fallbacks_answered_total",
                                        "Questions for a whole answer that got the error of their failed "
                                        "stream, without a request to DashScope.");
  Family<Counter>& aborts =
      counters("bailian_client_aborts_total",
               "Chats whose visitor left or read too slowly: before the first text, while it streamed, or "
               "after the answer was complete but not sent in full.");
  Counter& not_generated =
      counter("bailian_tokens_not_generated_estimate_total",
              "Estimate of the output tokens saved by cancelling the answers of visitors who left: for each, "
              "the mean of complete answers since the start less what had arrived. Nothing is added before "
              "the first complete answer, nor for text without a token count.");
  Counter& pauses =
      counter("bailian_backpressure_pauses_total", "Pauses of an answer because the browser reads slowly.");
  Family<Counter>& reloads = counters("bailian_reloads_total", "Reloads of the settings, by result.");
  std::array<Counter*, 2> reload = {&reloads.Add({{"result", "failed"}}), &reloads.Add({{"result", "ok"}})};

  std::array<std::array<std::array<std::atomic<Counter*>, kStatuses.size()>, kOutcomes.size()>,
             kEndpoints.size()>
      request_counters{};
  std::array<Histogram*, kModes.size()> first_token{};
  std::array<std::array<Histogram*, kOutcomes.size()>, kModes.size()> duration{};
  std::array<std::array<Counter*, kPhases.size()>, kReasons.size()> abort{};

  std::mutex mutex;  // guards what follows
  std::map<std::string, Model, std::less<>> models;
  double whole_answers = 0;
  double whole_answers_tokens = 0;
  std::array<std::deque<Tally>, 2> tallies;

  // Another, because /proc is read under it: no chat's end may wait for that.
  std::mutex open_files_mutex;
  OpenFiles open_files;
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

Tally& Metrics::add_tally(Traffic traffic) {
  const std::lock_guard lock(families_->mutex);
  return families_->tallies.at(index_of(traffic)).emplace_back();
}

void Metrics::count_request(const AccessRecord& record, Clock::time_point now) noexcept {
  count_safely([&] {
    families_->request(record.endpoint, record.outcome, record.status).Increment();
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
    for (size_t outcome = 0; outcome < kOutcomes.size(); ++outcome) {
      for (const auto& known : of_endpoint.at(outcome)) {
        const Counter* const counter = known.load(std::memory_order_acquire);
        if (counter != nullptr) totals.requests.at(outcome) += sum_of(*counter);
      }
    }
  }
  {
    const std::lock_guard lock(families_->mutex);
    for (const auto& [name, model] : families_->models) {
      totals.input_tokens += sum_of(model.input);
      totals.output_tokens += sum_of(model.output);
    }
  }
  totals.upstream_errors = sum_of(families_->upstream_errors);
  totals.retries = sum_of(families_->retries);
  totals.reloads = sum_of(*families_->reload.at(1));
  totals.failed_reloads = sum_of(*families_->reload.at(0));
  return totals;
}

std::string Metrics::text(const Gauges& gauges) const {
  auto all = families_->registry.Collect();
  all.push_back(
      single("bailian_streams_active", "Chats in progress.", MetricType::Gauge, gauges.active_streams));
  all.push_back(single("bailian_streams_limit", "MAX_STREAMS, the limit of bailian_streams_active.",
                       MetricType::Gauge, gauges.stream_limit));
  all.push_back(single("bailian_log_writes_lost_total",
                       "Writes to the log, each of one or more lines, that were lost.", MetricType::Counter,
                       static_cast<double>(gauges.lost_log_writes)));
  {
    const std::lock_guard lock(families_->mutex);
    families_->add_traffic(all, Traffic::kToClients, "bailian_client_sent_bytes_total",
                           "Bytes sent to the web server, including headers and FastCGI framing.");
    families_->add_traffic(all, Traffic::kFromUpstream, "bailian_upstream_received_bytes_total",
                           "Bytes of answers received from DashScope, without HTTP and TLS overhead.");
  }
  families_->add_process(all);
  std::ostringstream text;
  text.exceptions(std::ios::badbit);  // else it would end where there is no memory, and nobody would know
  prometheus::TextSerializer().Serialize(text, all);
  return text.str();
}

}  // namespace bailian
