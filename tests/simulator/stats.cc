#include "stats.h"

#include <algorithm>
#include <vector>

namespace bailian::simulator {
namespace {

constexpr std::array<std::string_view, kFields> kNames = {
    "requests", "completed",   "cut",      "open",         "held",
    "events",   "connections", "warm_ups", "input_tokens", "output_tokens"};

}  // namespace

Stats::Stats(event_base* base) : changed_(base, on_changed, this) {}

void Stats::add(Field field, std::int64_t amount) {
  values_[index(field)] += amount;
  if (!watchers_.empty()) changed_.fire();
}

void Stats::add_cut() {
  last_cut_ = std::chrono::steady_clock::now();
  add(Field::kCut);
}

void Stats::reset() {
  ++epoch_;
  for (const Field field :
       {Field::kRequests, Field::kCompleted, Field::kCut, Field::kEvents, Field::kConnections,
        Field::kWarmUps, Field::kInputTokens, Field::kOutputTokens}) {
    values_[index(field)] = 0;
  }
  add(Field::kRequests, 0);
}

std::string Stats::json() const {
  std::string json;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    json.append(i == 0 ? "{\"" : ",\"").append(kNames[i]).append("\":").append(std::to_string(values_[i]));
  }
  const std::chrono::nanoseconds last_cut = last_cut_.time_since_epoch();
  return json + ",\"last_cut_ns\":" + std::to_string(last_cut.count()) + "}";
}

std::optional<Field> Stats::find(std::string_view name) {
  const auto* found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Field>(found - kNames.begin());
}

void Stats::on_changed(evutil_socket_t, short, void* self) {
  const auto& watchers = static_cast<Stats*>(self)->watchers_;
  const std::vector<StatsWatcher*> told(watchers.begin(), watchers.end());
  for (StatsWatcher* watcher : told) watcher->on_stats_changed();
}

}  // namespace bailian::simulator
