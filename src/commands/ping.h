#pragma once

#include <string>

#include "settings/settings_source.h"

namespace bailian {

/// Asks the upstream one short question, which is billed, and prints the result on stdout: latency, model and
/// token usage, or the exact error and how to fix it. Returns the exit code (sysexits.h). Throws
/// ConfigError.
int ping(const SettingsSource& source, const std::string& bot);

}  // namespace bailian
