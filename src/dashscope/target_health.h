#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "dashscope/chat_types.h"
#include "settings/config.h"

namespace bailian {

/// Whether one target can be asked. Any thread; no call throws.
class TargetHealth {
 public:
  enum class State {
    kWell,
    kCooling,  // rests after a failure
    kDue,      // has rested: one chat may find out whether it is well again
    kProbing   // a chat does
  };
  struct View {
    State state = State::kWell;
    Clock::time_point until;  // of all but kWell: the end of the rest
  };

  struct EndProbe {
    void operator()(TargetHealth* health) const noexcept { health->end_probe(); }
  };
  /// The right to find out whether the target is well again. Given back on reset() or destruction, whatever
  /// the result. Null for a target that is well.
  using Probe = std::unique_ptr<TargetHealth, EndProbe>;

  [[nodiscard]] View view(Clock::time_point now) const noexcept;
  /// Nothing while the target rests or another chat probes it: then others are asked first.
  std::optional<Probe> admit(Clock::time_point now) noexcept;
  /// The target has failed. `asked`: the time for which it wants to rest itself.
  void note_failure(CoolDown kind, Clock::duration asked, Clock::time_point now) noexcept;
  /// The target has begun an answer. Does not count if it was asked before its latest failure.
  void note_success(Clock::time_point asked_at) noexcept;

 private:
  void end_probe() noexcept;
  [[nodiscard]] State state(Clock::time_point now) const;

  mutable std::mutex mutex_;         // guards the members below
  CoolDown kind_ = CoolDown::kNone;  // of the latest failure; kNone: well
  Clock::duration rest_{};           // how long it was
  Clock::time_point failed_at_;
  Clock::time_point until_;
  bool is_probed_ = false;
};

/// The health of all targets. Equal targets of several bots share theirs, as do all loops. Any thread.
class TargetHealths {
 public:
  /// Throws std::bad_alloc.
  std::shared_ptr<TargetHealth> of(const Target& target);
  /// Later calls of of() begin anew.
  void forget();

 private:
  struct Known {
    Target target;
    std::shared_ptr<TargetHealth> health;
  };
  std::mutex mutex_;  // guards known_
  std::vector<Known> known_;
};

}  // namespace bailian
