#pragma once

#include <string_view>

#include "dashscope/chat_types.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

namespace bailian {

// Counts and logs the attempts to get an answer for a bot.

/// An attempt at `target` has failed.
void count_upstream_error(Metrics& metrics, std::string_view bot, const UpstreamError& error,
                          const Target& target) noexcept;
/// Likewise, and another one will follow.
void note_retry(Metrics& metrics, std::string_view bot, const UpstreamError& error,
                const Target& target) noexcept;
/// An attempt at `from` has failed; the next is at `to`. Throws std::bad_alloc.
void note_failover(Metrics& metrics, std::string_view request_id, std::string_view bot,
                   const UpstreamError& error, const Target& from, const Target& to);

}  // namespace bailian
