#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/metrics.h"
#include "telemetry/process_stats.h"

namespace bailian {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;

constexpr size_t kEndpoints = static_cast<size_t>(Endpoint::kCount);
constexpr size_t kOutcomes = static_cast<size_t>(Outcome::kTimeout) + 1;
enum class ChatMode { kStream, kJson };
enum class AbortPhase { kWaiting, kStreaming, kSending };
enum class AbortReason { kLeft, kTooSlow };

/// The text of a label for each value of an enum, in the order of the enum.
template <typename Enum>
struct Label {
  Enum value;
  const char* text;
};
constexpr Label<Endpoint> kEndpointLabels[] = {
    {Endpoint::kNothing, "other"},     {Endpoint::kHealth, "health"}, {Endpoint::kReady, "ready"},
    {Endpoint::kBotProfile, "config"}, {Endpoint::kChat, "chat"},     {Endpoint::kChatStream, "stream"},
    {Endpoint::kMetrics, "metrics"},   {Endpoint::kPing, "ping"},     {Endpoint::kStatus, "status"}};
constexpr Label<ChatMode> kModeLabels[] = {{ChatMode::kStream, "stream"}, {ChatMode::kJson, "json"}};
constexpr Label<AbortPhase> kPhaseLabels[] = {{AbortPhase::kWaiting, "waiting"},
                                              {AbortPhase::kStreaming, "streaming"},
                                              {AbortPhase::kSending, "sending"}};
constexpr Label<AbortReason> kReasonLabels[] = {{AbortReason::kLeft, "left"},
                                                {AbortReason::kTooSlow, "too_slow"}};
constexpr const char* kStatusClasses[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

constexpr bool is_in_order(const auto& labels) {
  size_t index = 0;
  for (const auto& label : labels)
    if (static_cast<size_t>(label.value) != index++) return false;
  return true;
}
static_assert(std::size(kEndpointLabels) == kEndpoints && is_in_order(kEndpointLabels));
static_assert(is_in_order(kModeLabels) && is_in_order(kPhaseLabels) && is_in_order(kReasonLabels));

constexpr size_t kMaxModels = 20;
constexpr std::string_view kOtherModel = "other";
inline const std::vector<double> kFirstTokenBuckets = {0.1, 0.25, 0.5, 0.75, 1,  1.5, 2, 3,
                                                       5,   7.5,  10,  15,   20, 30,  60};
inline const std::vector<double> kDurationBuckets = {0.5, 1,  2.5, 5,  7.5, 10,  15, 20,
                                                     30,  45, 60,  90, 120, 180, 300};

inline size_t index_of(auto value) { return static_cast<size_t>(value); }

inline size_t status_class(int status) {
  const auto hundreds = static_cast<size_t>(std::max(status, 0) / 100);
  return hundreds < std::size(kStatusClasses) ? hundreds : 0;
}

inline double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// The counters and histograms of the program. Included by metrics.cc only.
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
    add_requests();
    for (const auto& [mode, text] : kModeLabels) add_mode(mode, text);
    for (const auto& [reason, reason_text] : kReasonLabels) {
      for (const auto& [phase, phase_text] : kPhaseLabels)
        abort.at(index_of(reason)).at(index_of(phase)) =
            &aborts.Add({{"reason", reason_text}, {"phase", phase_text}});
    }
  }

  // A rate needs the series before its first event.
  void add_requests() {
    for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kChatStream}) {
      request(endpoint, Outcome::kDone, 200);
      for (const int status : {200, 400, 500}) request(endpoint, Outcome::kError, status);
      for (const int status : {200, 500}) request(endpoint, Outcome::kTimeout, status);
      for (const int status : {0, 200}) request(endpoint, Outcome::kClientGone, status);
    }
  }

  void add_mode(ChatMode mode, const char* text) {
    first_token.at(index_of(mode)) = &first_tokens.Add({{"mode", text}}, kFirstTokenBuckets);
    for (size_t i = 0; i < kOutcomes; ++i) {
      const std::string outcome(name_of(static_cast<Outcome>(i)));
      duration.at(index_of(mode)).at(i) =
          &durations.Add({{"mode", text}, {"outcome", outcome}}, kDurationBuckets);
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
    Counter& counter = requests.Add({{"endpoint", kEndpointLabels[index_of(endpoint)].text},
                                     {"outcome", std::string(name_of(outcome))},
                                     {"status", kStatusClasses[status_class(status)]}});
    known.store(&counter, std::memory_order_release);
    return counter;
  }

  // Guarded by mutex.
  Model& model(std::string_view name) {
    std::string_view label = model_label(name);
    if (models.size() >= kMaxModels && !models.contains(label)) label = kOtherModel;
    const auto known = models.find(label);
    if (known != models.end()) return known->second;
    const std::string text(label);
    Model model{tokens.Add({{"model", text}, {"type", "input"}}),
                tokens.Add({{"model", text}, {"type", "output"}})};
    return models.emplace(text, model).first->second;
  }

  void count_chat(const AccessRecord& record, Clock::time_point now) {
    const size_t mode =
        index_of(record.resource == Endpoint::kChatStream ? ChatMode::kStream : ChatMode::kJson);
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
    const AbortPhase phase = record.is_complete   ? AbortPhase::kSending
                             : record.first_token ? AbortPhase::kStreaming
                                                  : AbortPhase::kWaiting;
    const AbortReason reason = record.has_stalled ? AbortReason::kTooSlow : AbortReason::kLeft;
    abort.at(index_of(reason)).at(index_of(phase))->Increment();
    const uint64_t had = record.usage ? record.usage->output_tokens : 0;
    const bool is_unknown = phase == AbortPhase::kStreaming && had == 0;
    if (phase == AbortPhase::kSending || is_unknown) return;
    const std::lock_guard lock(mutex);
    if (whole_answers == 0) return;
    not_generated.Increment(std::max(0.0, whole_answers_tokens / whole_answers - static_cast<double>(had)));
  }

  double traffic(Traffic traffic) {
    const std::lock_guard lock(mutex);
    double bytes = 0;
    for (const Tally& tally : tallies.at(index_of(traffic))) bytes += static_cast<double>(tally.sum());
    return bytes;
  }

  std::optional<uint64_t> count_open_files() {
    const std::lock_guard lock(open_files_mutex);
    return open_files.count();
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

  std::array<std::array<std::array<std::atomic<Counter*>, std::size(kStatusClasses)>, kOutcomes>, kEndpoints>
      request_counters{};
  std::array<Histogram*, std::size(kModeLabels)> first_token{};
  std::array<std::array<Histogram*, kOutcomes>, std::size(kModeLabels)> duration{};
  std::array<std::array<Counter*, std::size(kPhaseLabels)>, std::size(kReasonLabels)> abort{};

  std::mutex mutex;  // guards what follows
  std::map<std::string, Model, std::less<>> models;
  double whole_answers = 0;
  double whole_answers_tokens = 0;
  std::array<std::deque<Tally>, 2> tallies;

  // Apart from `mutex`, because /proc is read under it: no chat may wait for that.
  std::mutex open_files_mutex;
  OpenFiles open_files;
};

}  // namespace bailian
