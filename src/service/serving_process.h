#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"

namespace bailian {

/// Several generations of the program may hold one listening socket; these functions record which process
/// accepts from it. The kernel keeps the record with the open socket (fcntl(2), F_SETOWN_EX): only processes
/// that hold the socket can read or change it, and it vanishes with the process that it names. Nothing else
/// uses it: a listening socket raises no SIGIO or SIGURG. Any thread.

/// A pidfd of the process that accepts; empty if there is none, or if it is this process or `besides`.
UniqueFd other_serving_process(int listening_fd, pid_t besides = 0) noexcept;
/// Records this process.
void record_serving(int listening_fd) noexcept;
/// Removes the record, if it names this process.
void record_not_serving(int listening_fd) noexcept;
/// Sends SIGQUIT: the process finishes its answers within its DRAIN_TIMEOUT and exits.
void drain_process(const UniqueFd& process) noexcept;

}  // namespace bailian
