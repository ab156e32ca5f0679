#pragma once

namespace bailian::simulation {

/// Looks at the program between two iterations of its loop.
class LoopObserver {
 public:
  virtual ~LoopObserver() = default;
  virtual void on_iteration_end() = 0;
};
void observe_loop(LoopObserver* observer);

}  // namespace bailian::simulation
