#pragma once

#include <cstddef>
#include <string_view>

#include "base/access_record.h"
#include "base/event_loop.h"
#include "telemetry/metrics.h"
#include "telemetry/slow_log.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Where the connections of one loop report what they do. `board` and `metrics` must outlive it.
class FcgiTelemetry {
 public:
  FcgiTelemetry(EventLoop& loop, LoopBoard& board, Metrics& metrics);

  void count_connection() { board_.connections += 1; }
  void count_request() { board_.requests += 1; }
  void count_sent(size_t bytes) { sent_bytes_ += bytes; }
  /// A peer broke the protocol. The log lines are limited in rate.
  void note_bad_request(std::string_view fault);
  /// Logs a request that has ended, feeds the slow log and counts the metrics, in this order.
  void record_end(const AccessRecord& record) noexcept;

 private:
  LoopBoard& board_;
  Metrics& metrics_;
  Tally& sent_bytes_;
  SlowLog slow_log_;
  LineLimit bad_requests_;
};

}  // namespace bailian
