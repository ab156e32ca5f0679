#pragma once

#include <optional>

namespace bailian {

/// The exit code of a child that wants to be started again, because the faults of its settings are mended.
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

}  // namespace bailian
