#pragma once

#include <atomic>
#include <vector>

#include "chat/failed_streams.h"
#include "chat/stream_limit.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"
#include "telemetry/status_page.h"

namespace bailian {

/// What all loops share.
struct ServiceState {
  explicit ServiceState(const Config& config) : streams(config.max_streams) {}
  StreamLimit streams;
  FailedStreams failed_streams;
  Metrics metrics;
  std::atomic<bool> draining{false};
  /// Draining with nobody to take over: new chats are refused.
  std::atomic<bool> refusing{false};
  /// The settings have faults: chats are refused until they are mended.
  bool misconfigured = false;
  StatusBoard board;
};

/// The upper part, of the status page, as it is now.
std::vector<StatusFigure> status_figures(const ServiceState& state);

}  // namespace bailian
