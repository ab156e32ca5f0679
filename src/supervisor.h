#pragma once

#include <optional>

namespace bailian {

/// Splits the program in two, so that a service manager may start the next one while this one still ends its
/// answers. Nothing comes back in the child, which is to serve and gets SIGQUIT when the parent is gone. The
/// parent only waits: SIGTERM and SIGINT end it at once; SIGHUP, SIGUSR1, SIGUSR2 and SIGABRT are passed on;
/// the child's end is its own, by the same exit code, which is returned, or by the same signal.
/// To be called before there is any thread. Throws std::system_error.
std::optional<int> supervise();

}  // namespace bailian
