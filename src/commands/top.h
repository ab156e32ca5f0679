#pragma once

#include "settings/settings_source.h"

namespace bailian {

/// Shows the state of the running service and its chats, every `interval` until `q`, Ctrl-C or SIGTERM; once
/// when stdin or stdout is not a terminal. Returns the exit code. Throws ConfigError.
int top(const SettingsSource& source, Seconds interval);

}  // namespace bailian
