#include "dashscope/targets.h"

#include <algorithm>

namespace bailian {

Targets::Targets(EventLoop& loop, const Config& config, TargetHealths& healths, Tally& received)
    : loop_(loop), config_(config), received_(received), jitter_(std::random_device{}()) {
  for (const Target& target : config.targets) {
    if (!target.api_key.empty() && !target.app_id.empty())
      clients_.emplace_back(loop, config, target, healths.of(target));
  }
}

void Targets::expect_question(Metrics& metrics) noexcept {
  const auto now = Clock::now();
  const auto rests = [now](const DashScopeClient& client) {
    return client.health().view(now).state == TargetHealth::State::kCooling;
  };
  const auto next = std::ranges::find_if_not(clients_, rests);
  if (next != clients_.end()) next->expect_question(metrics);
}

std::optional<Targets::Choice> Targets::choose(const Asked& asked, std::optional<size_t> preferred,
                                               Clock::time_point now) {
  const auto admit = [&](size_t index) -> std::optional<Choice> {
    if (asked[index]) return std::nullopt;
    auto probe = clients_[index].health().admit(now);
    return probe ? std::optional(Choice{index, std::move(*probe)}) : std::nullopt;
  };
  if (preferred) {
    if (auto choice = admit(*preferred)) return choice;
  }
  for (size_t i = 0; i < clients_.size(); ++i) {
    if (auto choice = admit(i)) return choice;
  }
  return std::nullopt;
}

std::optional<Targets::Choice> Targets::choose_resting(const Asked& asked, Clock::time_point now) const {
  std::optional<size_t> best;
  Clock::time_point earliest;
  for (size_t i = 0; i < clients_.size(); ++i) {
    if (asked[i]) continue;
    const Clock::time_point until = clients_[i].health().view(now).until;
    if (best && until >= earliest) continue;
    best = i;
    earliest = until;
  }
  return best ? std::optional(Choice{*best, nullptr}) : std::nullopt;
}

SentSession Targets::read_session(std::string_view sent) const {
  std::vector<const Target*> targets;
  targets.reserve(clients_.size());
  for (const DashScopeClient& client : clients_) targets.push_back(&client.target());
  return bailian::read_session(sent, targets);
}

}  // namespace bailian
