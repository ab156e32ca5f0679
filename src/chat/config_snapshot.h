#pragma once

#include <utility>

#include "base/event_loop.h"
#include "dashscope/client.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

namespace bailian {

/// What the settings of one moment make, on one loop. A reload makes another; each chat keeps the one it
/// began with, so the key and the connections of an old one last as long as its chats.
struct ConfigSnapshot {
  ConfigSnapshot(EventLoop& loop, Config from, Metrics& counting, Tally& received)
      : config(std::move(from)), metrics(counting), upstream(loop, config, received) {}
  const Config config;
  Metrics& metrics;
  DashScopeClient upstream;
};

}  // namespace bailian
