#pragma once

#include <string>

#include "settings/settings_source.h"

namespace bailian {

/// Asks each target one short question, which is billed, and prints the result on stdout: latency, model and
/// token usage, or the exact error and how to fix it. Returns the exit code (sysexits.h), that of the first
/// target that has failed. Throws ConfigError.
int ping(const SettingsSource& source, const std::string& bot);

}  // namespace bailian
