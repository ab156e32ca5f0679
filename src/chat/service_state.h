#pragma once

#include <atomic>

#include "chat/failed_streams.h"
#include "chat/stream_limit.h"
#include "dashscope/curl_library.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// What all loops share. Any thread, unless a member says otherwise.
struct ServiceState {
  explicit ServiceState(const Config& config) : streams(config.max_streams) {}
  const CurlLibrary curl;
  StreamLimit streams;
  FailedStreams failed_streams;
  Metrics metrics;
  std::atomic<bool> draining{false};
  /// Draining, and no other process takes over: new chats are refused.
  std::atomic<bool> refusing{false};
  /// The settings have faults: chats are refused. Set before the loops start.
  bool misconfigured = false;
  StatusBoard board;
};

}  // namespace bailian
