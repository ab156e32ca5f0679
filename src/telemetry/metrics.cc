#include "telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "telemetry/computed_metrics.h"
#include "telemetry/metric_labels.h"
#include "telemetry/process_stats.h"

namespace bailian {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;

constexpr size_t kMaxModels = 20;

const std::vector<double> kFirstTokenBuckets = {0.1, 0.25, 0.5, 0.75, 1,  1.5, 2, 3,
                                                5,   7.5,  10,  15,   20, 30,  60};
const std::vector<double> kDurationBuckets = {0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300};

uint64_t sum_of(const Family<Counter>& family, std::string_view label = "", std::string_view value = "") {
  return sum_of_counters(family.Collect(), label, value);
}

// Without memory a count is wrong, but no request fails.
void count_safely(const auto& count) noexcept {
  try {
    count();
  } catch (const std::exception&) {
  }
}

}  // namespace

/// Its series are looked up by their labels: nothing here is called for each token.
struct Metrics::Families {
  // A rate needs a series before its first event, so the usual ones exist from the start.
  Families() {
    prometheus::BuildGauge()
        .Name("bailian_build_info")
        .Help("Always 1; the label has the version of the program.")
        .Register(registry)
        .Add({{"version", BAILIAN_VERSION}})
        .Set(1);
    for (const char* reason : {"left", "too_slow"})
      for (const char* phase : {"waiting", "streaming", "sending"}) abort(reason, phase);
    for (const char* result : {"ok", "failed"}) reload(result);
    for (const char* result : {"opened", "kept", "failed"}) warm_up(result);
  }

  void add_bot(const std::string& bot) {
    for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kChatStream}) {
      request(bot, endpoint, Outcome::kDone, 200);
      for (const int status : {200, 400, 500}) request(bot, endpoint, Outcome::kError, status);
      for (const int status : {200, 500}) request(bot, endpoint, Outcome::kTimeout, status);
      for (const int status : {0, 200}) request(bot, endpoint, Outcome::kClientGone, status);
    }
    for (const char* result : {"hit", "joined", "miss"}) by_result(cacheables, bot, result);
    for (const char* result : {"replayed", "joined"}) by_result(repeated, bot, result);
    for (const char* code : {"budget_used_up", "visitor_budget_used_up", "paused", "budget_unknown"})
      refusals.Add({{"bot", bot}, {"code", code}});
    for (const char* mode : {"stream", "json"}) {
      first_token(bot, mode);
      for (const auto& outcome : kOutcomes) duration(bot, mode, outcome.value);
    }
  }

  void add_target(const std::string& bot, int target) {
    for (Family<Counter>* family : {&upstream_requests, &retries}) of_target(*family, bot, target);
  }

  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Counter& counter(const char* name, const char* help) { return counters(name, help).Add({}); }
  Family<Histogram>& histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  // Without a bot, the series has no such label.
  Counter& request(const std::string& bot, Endpoint endpoint, Outcome outcome, int status) {
    prometheus::Labels labels = {{"endpoint", std::string(kEndpoints.at(static_cast<size_t>(endpoint)).name)},
                                 {"outcome", std::string(name_of(outcome))},
                                 {"status", status_class(status)}};
    if (!bot.empty()) labels.emplace("bot", bot);
    return requests.Add(labels);
  }
  Histogram& first_token(const std::string& bot, const char* mode) {
    return first_tokens.Add({{"bot", bot}, {"mode", mode}}, kFirstTokenBuckets);
  }
  Histogram& duration(const std::string& bot, const char* mode, Outcome outcome) {
    return durations.Add({{"bot", bot}, {"mode", mode}, {"outcome", std::string(name_of(outcome))}},
                         kDurationBuckets);
  }
  static Counter& of_target(Family<Counter>& family, const std::string& bot, int target) {
    return family.Add({{"bot", bot}, {"target", std::to_string(target)}});
  }
  static Counter& by_result(Family<Counter>& family, const std::string& bot, std::string_view result) {
    return family.Add({{"bot", bot}, {"result", std::string(result)}});
  }
  Counter& abort(const char* reason, const char* phase) {
    return aborts.Add({{"reason", reason}, {"phase", phase}});
  }
  Counter& warm_up(const char* result) { return warm_ups.Add({{"result", result}}); }
  Counter& reload(const char* result) { return reloads.Add({{"result", result}}); }

  void count_chat(const AccessRecord& record, Clock::time_point now) {
    duration(record.bot, mode_of(record), record.outcome).Observe(Seconds(now - record.started).count());
    if (record.first_token)
      first_token(record.bot, mode_of(record)).Observe(Seconds(*record.first_token - record.started).count());
    if (record.usage && record.counts_usage)
      count_usage(record.bot, record.model, *record.usage, record.is_complete);
    if (record.outcome == Outcome::kClientGone) count_abort(record);
  }

  void count_usage(const std::string& bot, std::string_view name, const Usage& usage, bool is_complete) {
    const std::lock_guard lock(mutex);
    std::string model(model_label(name));
    if (models.size() >= kMaxModels && !models.contains(model)) model = kOtherModel;
    models.insert(model);
    const auto output = static_cast<double>(usage.output_tokens);
    const auto add = [&](const char* type, double count) {
      tokens.Add({{"bot", bot}, {"model", model}, {"type", type}}).Increment(count);
    };
    add("input", static_cast<double>(usage.input_tokens));
    add("output", output);
    if (!is_complete || usage.output_tokens == 0) return;
    whole_answers += 1;
    whole_answers_tokens += output;
  }

  void count_abort(const AccessRecord& record) {
    const bool is_streaming = record.first_token && !record.is_complete;
    abort(record.has_stalled ? "too_slow" : "left", record.is_complete ? "sending"
                                                    : is_streaming     ? "streaming"
                                                                       : "waiting")
        .Increment();
    const uint64_t arrived = record.usage ? record.usage->output_tokens : 0;
    if (record.is_complete || (is_streaming && arrived == 0)) return;
    const std::lock_guard lock(mutex);
    if (whole_answers == 0) return;
    const double mean = whole_answers_tokens / whole_answers;
    not_generated.Increment(std::max(0.0, mean - static_cast<double>(arrived)));
  }

  double traffic(Traffic traffic) {
    const std::lock_guard lock(mutex);
    double bytes = 0;
    for (const Tally& tally : tallies.at(static_cast<size_t>(traffic)))
      bytes += static_cast<double>(tally.sum());
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
  Family<Counter>& upstream_requests =
      counters("bailian_upstream_requests_total", "Requests sent to DashScope; each may be billed.");
  Family<Counter>& retries = counters("bailian_upstream_retries_total", "Retries after a failed attempt.");
  Family<Counter>& failovers = counters(
      "bailian_failovers_total",
      "Failed attempts after which the chat went on at another target; from and to are their numbers.");
  Counter& answered_fallbacks = counter("bailian_fallbacks_answered_total",
                                        "Questions for a whole answer that got the error of their failed "
                                        "stream, without a request to DashScope.");
  Family<Counter>& refusals =
      counters("bailian_refusals_total",
               "Questions that a cap, the owner's pause or the ledger did not allow, by error code.");
  Family<Counter>& cacheables = counters(
      "bailian_answer_cache_total",
      "Questions whose answer may be cached, by result: hit (answered from the cache), joined (shares the "
      "answer that another visitor waits for), miss (DashScope was asked).");
  Family<Counter>& repeated = counters(
      "bailian_idempotent_replays_total",
      "Questions that got the answer of an earlier one with the same Idempotency-Key, by result: replayed "
      "(it was complete), joined (it was under way).");
  Family<Counter>& aborts =
      counters("bailian_client_aborts_total",
               "Chats whose visitor left or read too slowly: before the first text, while it streamed, or "
               "after the answer was complete but not sent in full.");
  Counter& not_generated = counter(
      "bailian_tokens_not_generated_estimate_total",
      "Estimate of the output tokens saved by cancelling the answers of visitors who left: for each, "
      "the mean of complete answers since the start minus the tokens received. Nothing is added before "
      "the first complete answer, nor for text without a token count.");
  Counter& pauses = counter("bailian_backpressure_pauses_total",
                            "Times that an answer was paused because the browser reads slowly.");
  Family<Counter>& reloads = counters("bailian_reloads_total", "Reloads of the settings, by result.");
  Family<Counter>& warm_ups = counters(
      "bailian_warm_ups_total",
      "Requests without key or question that made a connection to DashScope ready, by result: opened, "
      "kept (an earlier connection was still good), failed.");

  std::mutex mutex;  // guards the members below
  std::set<std::string> models;
  double whole_answers = 0;
  double whole_answers_tokens = 0;
  std::array<std::deque<Tally>, 2> tallies;

  // Apart from `mutex`, because /proc is read under it: no chat may wait for that.
  std::mutex open_files_mutex;
  OpenFiles open_files;
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

Tally& Metrics::add_tally(Traffic traffic) {
  const std::lock_guard lock(families_->mutex);
  return families_->tallies.at(static_cast<size_t>(traffic)).emplace_back();
}

void Metrics::add_bot(std::string_view bot) noexcept {
  count_safely([&] { families_->add_bot(std::string(bot)); });
}

void Metrics::count_request(const AccessRecord& record, Clock::time_point now) noexcept {
  count_safely([&] {
    families_->request(record.bot, record.endpoint, record.outcome, record.status).Increment();
    if (record.is_chat) families_->count_chat(record, now);
  });
}

void Metrics::add_target(std::string_view bot, int target) noexcept {
  count_safely([&] { families_->add_target(std::string(bot), target); });
}

void Metrics::count_upstream_error(std::string_view bot, int target, std::string_view code,
                                   std::string_view fault) noexcept {
  count_safely([&] {
    families_->upstream_errors
        .Add({{"bot", std::string(bot)},
              {"target", std::to_string(target)},
              {"code", std::string(code)},
              {"fault", std::string(fault)}})
        .Increment();
  });
}

void Metrics::count_upstream_request(std::string_view bot, int target) noexcept {
  count_safely(
      [&] { Families::of_target(families_->upstream_requests, std::string(bot), target).Increment(); });
}

void Metrics::count_retry(std::string_view bot, int target) noexcept {
  count_safely([&] { Families::of_target(families_->retries, std::string(bot), target).Increment(); });
}

void Metrics::count_failover(std::string_view bot, int from, int to) noexcept {
  count_safely([&] {
    families_->failovers
        .Add({{"bot", std::string(bot)}, {"from", std::to_string(from)}, {"to", std::to_string(to)}})
        .Increment();
  });
}

void Metrics::count_answered_fallback() noexcept { families_->answered_fallbacks.Increment(); }

void Metrics::count_refusal(std::string_view bot, std::string_view code) noexcept {
  count_safely([&] {
    families_->refusals.Add({{"bot", std::string(bot)}, {"code", std::string(code)}}).Increment();
  });
}

void Metrics::count_cacheable(std::string_view bot, std::string_view result) noexcept {
  count_safely([&] { Families::by_result(families_->cacheables, std::string(bot), result).Increment(); });
}

void Metrics::count_repeated(std::string_view bot, std::string_view result) noexcept {
  count_safely([&] { Families::by_result(families_->repeated, std::string(bot), result).Increment(); });
}

void Metrics::count_tokens(std::string_view bot, std::string_view model, const Usage& usage,
                           bool is_complete) noexcept {
  count_safely([&] { families_->count_usage(std::string(bot), model, usage, is_complete); });
}

void Metrics::count_pause() noexcept { families_->pauses.Increment(); }

void Metrics::count_reload(bool good) noexcept {
  count_safely([&] { families_->reload(good ? "ok" : "failed").Increment(); });
}

Totals Metrics::totals() const {
  Totals totals;
  for (size_t i = 0; i < kOutcomes.size(); ++i)
    totals.requests.at(i) = sum_of(families_->requests, "outcome", kOutcomes.at(i).name);
  totals.input_tokens = sum_of(families_->tokens, "type", "input");
  totals.output_tokens = sum_of(families_->tokens, "type", "output");
  totals.upstream_errors = sum_of(families_->upstream_errors);
  totals.retries = sum_of(families_->retries);
  totals.reloads = sum_of(families_->reloads, "result", "ok");
  totals.failed_reloads = sum_of(families_->reloads, "result", "failed");
  return totals;
}

void Metrics::count_warm_up(WarmUpResult result) noexcept {
  constexpr std::array kNames = {"opened", "kept", "failed"};
  count_safely([&] { families_->warm_up(kNames.at(static_cast<size_t>(result))).Increment(); });
}

std::string Metrics::text(const Gauges& gauges) const {
  std::vector<MetricFamily> all = families_->registry.Collect();
  add_computed(all, gauges,
               {families_->traffic(Traffic::kToClients), families_->traffic(Traffic::kFromUpstream),
                families_->count_open_files()});
  std::ostringstream text;
  text.exceptions(std::ios::badbit);  // without memory the text would end early and look complete
  prometheus::TextSerializer().Serialize(text, all);
  return text.str();
}

}  // namespace bailian
