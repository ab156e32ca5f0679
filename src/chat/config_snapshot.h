#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include "base/event_loop.h"
#include "dashscope/client.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

namespace bailian {

/// The bot that visitors talk to: an application of DashScope with its settings.
struct Bot {
  Bot(EventLoop& loop, std::string_view bot_name, const Config& settings, Tally& received_bytes)
      : name(bot_name), config(settings), upstream(loop, config, received_bytes) {}
  const std::string name;
  const Config& config;
  DashScopeClient upstream;
};

/// The settings of one loop and the clients made from them. A reload makes a new snapshot. Each chat keeps
/// the one it began with, so an old key and its connections last as long as their chats.
struct ConfigSnapshot {
  /// `received_bytes`, which counts the upstream's answers, must outlive the snapshot.
  ConfigSnapshot(EventLoop& loop, Config settings, Tally& received_bytes) : config(std::move(settings)) {
    bots.emplace_back(loop, kDefaultBot, config, received_bytes);
  }

  /// nullptr if no such bot exists.
  Bot* find(std::string_view name) {
    const auto bot = std::ranges::find(bots, name, &Bot::name);
    return bot != bots.end() ? &*bot : nullptr;
  }

  const Config config;
  std::deque<Bot> bots;
};

}  // namespace bailian
