#pragma once

#include <unordered_set>
#include <utility>

#include "libevent.h"
#include "stats.h"

namespace bailian::simulator {

// Where `hold=N` answers wait for POST /control/release.
class Gate {
 public:
  explicit Gate(Stats& stats) : stats_(stats) {}

  // `timer` fires when the gate opens.
  void enter(Timer& timer) { stats_.add(Field::kHeld, held_.insert(&timer).second ? 1 : 0); }
  void leave(Timer& timer) {
    if (held_.erase(&timer) != 0) stats_.add(Field::kHeld, -1);
  }
  void open() {
    for (Timer* timer : held_) timer->fire();
    stats_.add(Field::kHeld, -static_cast<std::int64_t>(held_.size()));
    held_.clear();
  }

 private:
  Stats& stats_;
  std::unordered_set<Timer*> held_;
};

}  // namespace bailian::simulator
