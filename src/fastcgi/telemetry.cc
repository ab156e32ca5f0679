#include "fastcgi/telemetry.h"

#include <fmt/format.h>

#include "base/log.h"

namespace bailian {
namespace {

// A broken peer may come again and again.
constexpr int kMaxBadRequestLines = 10;
constexpr std::chrono::seconds kBadRequestWindow{10};

void log_suppressed(int lines) {
  log(LogLevel::kWarning, "bad_request", fmt::format("{} more lines like this were left out", lines),
      {{"left_out", static_cast<double>(lines)}});
}

}  // namespace

FcgiTelemetry::FcgiTelemetry(EventLoop& loop, LoopBoard& board, Metrics& metrics)
    : board_(board),
      metrics_(metrics),
      sent_bytes_(metrics.add_tally(Traffic::kToClients)),
      slow_log_(loop),
      bad_requests_(loop, kMaxBadRequestLines, kBadRequestWindow, log_suppressed) {}

void FcgiTelemetry::note_bad_request(std::string_view fault) {
  if (!bad_requests_.admit()) return;
  log(LogLevel::kWarning, "bad_request", "a peer violates the FastCGI protocol", {{"fault", fault}});
}

void FcgiTelemetry::record_end(const AccessRecord& record) noexcept {
  const auto now = Clock::now();
  log_request(record, now);
  slow_log_.note(record, now);
  metrics_.count_request(record, now);
}

}  // namespace bailian
