#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"

namespace bailian {

/// Which of the processes that hold one listening socket, one generation after another, accepts from it. The
/// note is kept by the kernel with the open socket (fcntl(2), F_SETOWN_EX): only who holds the socket can
/// see or change it, and it ends with the process that it names. Nobody else uses it: a listening socket
/// raises no SIGIO or SIGURG. Any thread.

/// A pidfd of the process that accepts; empty when there is none, or it is this one or `besides`.
UniqueFd other_serving_process(int listening_fd, pid_t besides = 0) noexcept;
/// From now on it is this process.
void note_serving(int listening_fd) noexcept;
/// This process accepts no more; another one's note stays.
void note_not_serving(int listening_fd) noexcept;
/// Has it finish its answers and end, within its DRAIN_TIMEOUT.
void drain_process(const UniqueFd& process) noexcept;

}  // namespace bailian
