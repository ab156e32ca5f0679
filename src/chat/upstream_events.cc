#include "chat/upstream_events.h"

#include "base/key_mask.h"
#include "base/log.h"
#include "dashscope/error_codes.h"

namespace bailian {

void count_upstream_error(Metrics& metrics, std::string_view bot, const UpstreamError& error,
                          const Target& target) noexcept {
  metrics.count_upstream_error(bot, target.number, error_label(error.code), describe(error.fault).label);
}

void note_retry(Metrics& metrics, std::string_view bot, const UpstreamError& error,
                const Target& target) noexcept {
  count_upstream_error(metrics, bot, error, target);
  metrics.count_retry(bot, target.number);
}

void note_failover(Metrics& metrics, std::string_view request_id, std::string_view bot,
                   const UpstreamError& error, const Target& from, const Target& to) {
  count_upstream_error(metrics, bot, error, from);
  metrics.count_failover(bot, from.number, to.number);
  log(LogLevel::kWarning, "failover", "",
      {{"request_id", request_id},
       {"bot", bot},
       {"from", double(from.number)},
       {"to", double(to.number)},
       {"fault", describe(error.fault).label},
       {"upstream_code", scrub(error.code, from.api_key)}});
}

}  // namespace bailian
