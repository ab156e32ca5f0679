#pragma once

namespace bailian::simulation {

/// Is called between two iterations of the product's event loop.
class LoopObserver {
 public:
  virtual ~LoopObserver() = default;
  virtual void on_iteration_end() = 0;
};
void observe_loop(LoopObserver* observer);

}  // namespace bailian::simulation
