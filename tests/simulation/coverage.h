#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bailian {
class Worker;
}

namespace bailian::simulation {

/// How often each transition between two states was seen. In memory that is shared with the process that
/// reads it.
struct Coverage {
  static constexpr size_t kMaxStates = 8;
  using Transitions = std::array<std::array<uint64_t, kMaxStates>, kMaxStates>;
  Transitions chat;
  Transitions completion;
};

/// Watches the chats of `worker` from now on; none: stops.
void observe_chats(Worker* worker);
/// Where the transitions are counted.
void count_transitions(Coverage& coverage);
/// Prints the transitions and how often each was seen. False: some were not.
bool print_coverage(const Coverage& coverage);

}  // namespace bailian::simulation
