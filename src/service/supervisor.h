#pragma once

#include <optional>

namespace bailian {

/// The exit code by which the child asks to be started again: the settings that it could not use are mended.
constexpr int kStartAgain = 254;

/// What a service manager sends the supervisor when it restarts the program (systemd's RestartKillSignal=),
/// and what the child gets when the supervisor is gone without having been told to stop: the child goes on
/// serving until its successor does.
int hand_over_signal();
/// What the child gets from a supervisor that is told to stop.
int stop_signal();

/// Splits the program in two, so that a service manager may start the next one while this one still serves.
/// Nothing comes back in the child, which is to serve. The parent only waits. SIGTERM, SIGINT and SIGQUIT end
/// it at once: it sends stop_signal() to the child, and SIGQUIT to a process of an earlier start that still
/// accepts from the inherited socket. hand_over_signal() ends it at once too. SIGHUP, SIGUSR1, SIGUSR2 and
/// SIGABRT are passed on. The child's end is its own, by the same exit code, which is returned, or by the
/// same signal; after kStartAgain there is another child.
/// To be called before there is any thread. Throws std::system_error.
std::optional<int> supervise();

}  // namespace bailian
