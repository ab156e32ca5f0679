#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/access_record.h"

namespace bailian {

/// A sum that one thread adds to and any may read: an addition costs no more than one to a plain number.
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

/// What is only looked at when somebody asks.
struct Gauges {
  int active_streams = 0;
  int stream_limit = 0;
  uint64_t lost_log_writes = 0;
};

/// What the status page tells of all that was counted since the start.
struct Totals {
  std::array<uint64_t, kOutcomes.size()> requests{};  // that have ended, by Outcome
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t upstream_errors = 0;
  uint64_t retries = 0;
  uint64_t reloads = 0;
  uint64_t failed_reloads = 0;
};

/// Counts what happens, and tells it in Prometheus's text format. Any thread. Nothing here is called for each
/// token but Tally, and nothing throws for want of memory: then a count is wrong, but no answer.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// For one thread, to add bytes to; it lasts as long as this.
  Tally& add_tally(Traffic traffic);

  /// At the end of each request.
  void count_request(const AccessRecord& record, Clock::time_point now) noexcept;
  /// Both are of a limited set of words.
  void count_upstream_error(std::string_view code, std::string_view fault) noexcept;
  void count_upstream_request() noexcept;
  void count_retry() noexcept;
  void count_answered_fallback() noexcept;
  void count_pause() noexcept;
  void count_reload(bool good) noexcept;

  /// Everything, in the text format's version 0.0.4.
  [[nodiscard]] std::string text(const Gauges& gauges) const;

  [[nodiscard]] Totals totals() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

/// The value of a label for a model. The upstream may name it as it likes: only a name of at most 64 plain
/// characters is taken as it is, and only the first 20 names get a label at all.
std::string_view model_label(std::string_view model);

}  // namespace bailian
