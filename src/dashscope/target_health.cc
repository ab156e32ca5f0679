#include "dashscope/target_health.h"

#include <algorithm>
#include <cassert>
#include <tuple>

namespace bailian {
namespace {

using namespace std::chrono_literals;

struct Rest {
  Clock::duration first;
  Clock::duration longest;
};

Rest rest_after(CoolDown kind) {
  switch (kind) {
    case CoolDown::kNone:
      break;
    case CoolDown::kBrief:
      return {5s, 1min};
    case CoolDown::kThrottled:
      return {10s, 5min};
    case CoolDown::kLong:
      return {5min, 5min};
  }
  assert(false);
  return {};
}

auto identity_of(const Target& target) {
  return std::tie(target.base_url, target.api_key, target.app_id, target.workspace);
}

}  // namespace

TargetHealth::State TargetHealth::state(Clock::time_point now) const {
  if (kind_ == CoolDown::kNone) return State::kWell;
  if (now < until_) return State::kCooling;
  return is_probed_ ? State::kProbing : State::kDue;
}

TargetHealth::View TargetHealth::view(Clock::time_point now) const noexcept {
  const std::lock_guard lock(mutex_);
  return {state(now), until_};
}

std::optional<TargetHealth::Probe> TargetHealth::admit(Clock::time_point now) noexcept {
  const std::lock_guard lock(mutex_);
  const State current = state(now);
  if (current == State::kWell) return Probe();
  if (current != State::kDue) return std::nullopt;
  is_probed_ = true;
  return Probe(this);
}

// Chats that were under way together fail together: while it rests, a failure can only prolong the rest.
void TargetHealth::note_failure(CoolDown kind, Clock::duration asked, Clock::time_point now) noexcept {
  const std::lock_guard lock(mutex_);
  const bool rests = state(now) == State::kCooling;
  const bool is_again = kind_ == kind;
  failed_at_ = now;
  if (rests && is_again) {
    until_ = std::max(until_, now + asked);
    return;
  }
  const auto [first, longest] = rest_after(kind);
  const Clock::duration rest = is_again ? std::min(2 * rest_, longest) : first;
  const Clock::time_point until = now + std::max(rest, asked);
  if (rests && until <= until_) return;
  kind_ = kind;
  rest_ = rest;
  until_ = until;
}

void TargetHealth::note_success(Clock::time_point asked_at) noexcept {
  const std::lock_guard lock(mutex_);
  if (kind_ != CoolDown::kNone && asked_at >= failed_at_) kind_ = CoolDown::kNone;
}

void TargetHealth::end_probe() noexcept {
  const std::lock_guard lock(mutex_);
  assert(is_probed_);
  is_probed_ = false;
}

std::shared_ptr<TargetHealth> TargetHealths::of(const Target& target) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      known_, [&](const Known& one) { return identity_of(one.target) == identity_of(target); });
  if (found != known_.end()) return found->health;
  known_.push_back({target, std::make_shared<TargetHealth>()});
  return known_.back().health;
}

void TargetHealths::forget() {
  const std::lock_guard lock(mutex_);
  known_.clear();
}

}  // namespace bailian
