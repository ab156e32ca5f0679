#pragma once

#include <sys/types.h>

#include <optional>

#include "base/unique_fd.h"

namespace bailian {

/// The exit code of a child that wants to be started again, because the faults of its settings are fixed.
constexpr int kStartAgain = 254;

/// A service manager sends it to the supervisor to restart the program (systemd's RestartKillSignal=), and
/// the kernel sends it to the child of a supervisor that has exited. The child serves until its successor is
/// ready.
int hand_over_signal();
/// A supervisor that has to stop sends it to its child, which drains.
int stop_signal();

/// Forks a child that serves, so that a service manager can start the next instance while this one still
/// finishes answers. In the child it returns nothing. The parent only waits:
/// - SIGTERM, SIGINT and SIGQUIT end it at once. It sends stop_signal() to the child, and SIGQUIT to a
/// process
///   of an earlier start that still accepts from the inherited socket.
/// - hand_over_signal() ends it at once.
/// - It passes SIGHUP, SIGUSR1, SIGUSR2 and SIGABRT on to the child.
/// - When the child exits, it returns the child's exit code or ends by the same signal; after kStartAgain it
///   forks another child.
/// Call it before there is any other thread. Throws std::system_error.
std::optional<int> supervise();

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
