#pragma once

#include <algorithm>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/event_loop.h"
#include "chat/answer_cache.h"
#include "chat/service_state.h"
#include "dashscope/targets.h"
#include "settings/config.h"
#include "telemetry/metrics.h"

namespace bailian {

/// The bot that visitors talk to: an application of DashScope with its settings.
struct Bot {
  Bot(EventLoop& loop, const Config& settings, ServiceState& state, Tally& received_bytes)
      : name(settings.name),
        config(settings),
        streams(state.streams_of(settings.name)),
        metrics(state.metrics),
        answer_scope(config.answer_cache != AnswerCaching::kOff ? make_answer_scope(config) : nullptr),
        upstream(loop, config, state.targets, received_bytes) {
    for (const Target& target : config.targets) state.metrics.add_target(name, target.number);
  }
  const std::string name;
  const Config& config;
  StreamLimit& streams;  // of all loops
  Metrics& metrics;
  const std::shared_ptr<const AnswerScope> answer_scope;  // nullptr: its answers are not cached
  Targets upstream;
};

/// The settings of one loop and the clients made from them. A reload makes a new snapshot. Each chat keeps
/// the one it began with, so an old key and its connections last as long as their chats.
struct ConfigSnapshot {
  /// `received_bytes`, which counts the upstream's answers, must outlive the snapshot.
  ConfigSnapshot(EventLoop& loop, Config settings, ServiceState& state, Tally& received_bytes)
      : config(std::move(settings)) {
    bots.emplace_back(loop, config, state, received_bytes);
    for (const Config& bot : config.bots) bots.emplace_back(loop, bot, state, received_bytes);
  }

  /// Puts MAX_STREAMS of the bots into use, for all loops.
  void set_limits() noexcept {
    for (const Bot& bot : bots) {
      const int own = bot.config.max_streams;  // of the default one: that of the service
      bot.streams.set_limit(own > 0 ? own : std::numeric_limits<int>::max());
    }
  }

  /// nullptr if no such bot exists.
  Bot* find(std::string_view name) {
    const auto bot = std::ranges::find(bots, name, &Bot::name);
    return bot != bots.end() ? &*bot : nullptr;
  }

  const Config config;
  std::deque<Bot> bots;  // the default one first
};

}  // namespace bailian
