#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bailian {
class Worker;
}

namespace bailian::simulation {

/// How often each transition between two states was seen. Lies in memory shared with the parent process.
struct Coverage {
  static constexpr size_t kMaxStates = 8;
  using Transitions = std::array<std::array<uint64_t, kMaxStates>, kMaxStates>;
  Transitions chat;
  Transitions completion;
};

/// Observes the chats of `worker`; nullptr stops it.
void observe_chats(Worker* worker);
/// Counts the transitions in `coverage` from now on.
void count_transitions(Coverage& coverage);
/// Prints how often each transition was seen. False: some were never seen.
bool print_coverage(const Coverage& coverage);

}  // namespace bailian::simulation
