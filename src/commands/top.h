#pragma once

#include "settings/config.h"

namespace bailian {

/// Shows what the program at this address is doing, again and again until `q`, Ctrl-C or SIGTERM; once when
/// stdin or stdout is no terminal. Returns the exit code.
int top(const ListenAddress& address, Seconds interval);

}  // namespace bailian
