#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/access_record.h"

namespace bailian {

/// A sum that one thread adds to and any thread reads. An addition costs no more than one to a plain integer.
class alignas(64) Tally {  // a cache line of its own
 public:
  void operator+=(uint64_t more) {
    sum_.store(sum_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  [[nodiscard]] uint64_t sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> sum_{0};
};

enum class Traffic { kToClients, kFromUpstream };

/// How a connection for the next question was made ready.
enum class WarmUpResult {
  kOpened,  // a new one
  kKept,    // an earlier one was still good
  kFailed
};

/// One of the targets of a bot.
struct TargetGauge {
  std::string_view bot;
  int number = 0;
  bool is_cooling = false;
};

/// A cap, or what would count towards it if there were one.
struct CapGauge {
  std::string_view scope;   // bot, total or visitor
  std::string_view bot;     // empty: all together
  std::string_view period;  // day or month
  std::optional<uint64_t> limit;
  std::optional<uint64_t> used;    // none: of each visitor
  std::optional<uint64_t> leased;  // likewise
  int alerted_percent = 0;
};

/// What the ledger knows of a bot.
struct LedgerBotGauge {
  std::string_view bot;
  bool is_paused = false;
  uint64_t open_leases = 0;
  uint64_t estimated_tokens = 0;  // of the running day
};

struct LedgerGauges {
  bool has_fault = false;
  std::vector<CapGauge> caps{};
  std::vector<LedgerBotGauge> bots{};
};

/// Current values, which the caller of text() supplies.
struct Gauges {
  int active_streams = 0;
  int stream_limit = 0;
  uint64_t lost_log_writes = 0;
  std::vector<TargetGauge> targets{};
  std::optional<LedgerGauges> ledger{};  // none: there is no ledger
};

/// The totals since the start, for the status page.
struct Totals {
  std::array<uint64_t, kOutcomes.size()> requests{};  // ended, by Outcome
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t upstream_errors = 0;
  uint64_t retries = 0;
  uint64_t reloads = 0;
  uint64_t failed_reloads = 0;
};

/// Counts events and writes them in Prometheus's text format. Any thread. Of this file only Tally is on the
/// path of a token. The count_ methods do not throw: without memory a count is wrong, but no answer fails.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// For one thread to add bytes to. Valid as long as this object.
  Tally& add_tally(Traffic traffic);

  /// A rate needs a series before its first event: makes those of this bot, if there are none.
  void add_bot(std::string_view bot) noexcept;
  /// Likewise for one of its targets.
  void add_target(std::string_view bot, int target) noexcept;

  /// Called at the end of each request.
  void count_request(const AccessRecord& record, Clock::time_point now) noexcept;
  // `bot` is the name of one in the settings, `target` the number of one of its targets.

  /// All arguments must be from small sets, as each combination becomes a series.
  void count_upstream_error(std::string_view bot, int target, std::string_view code,
                            std::string_view fault) noexcept;
  void count_upstream_request(std::string_view bot, int target) noexcept;
  void count_retry(std::string_view bot, int target) noexcept;
  void count_failover(std::string_view bot, int from, int to) noexcept;
  void count_answered_fallback() noexcept;
  /// A question that the ledger or the owner did not allow; `code` is that of its error.
  void count_refusal(std::string_view bot, std::string_view code) noexcept;
  /// A question that may be cached: `result` is hit, joined or miss.
  void count_cacheable(std::string_view bot, std::string_view result) noexcept;
  /// A question that got the answer of an earlier one by its Idempotency-Key: `result` is replayed or joined.
  void count_repeated(std::string_view bot, std::string_view result) noexcept;
  /// The tokens of an answer that chats share, which no request counts.
  void count_tokens(std::string_view bot, std::string_view model, const Usage& usage,
                    bool is_complete) noexcept;
  void count_pause() noexcept;
  void count_reload(bool good) noexcept;
  void count_warm_up(WarmUpResult result) noexcept;

  /// All metrics, in version 0.0.4 of the text format.
  [[nodiscard]] std::string text(const Gauges& gauges) const;

  [[nodiscard]] Totals totals() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace bailian
