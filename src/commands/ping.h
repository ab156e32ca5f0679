#pragma once

#include "settings/config.h"

namespace bailian {

/// Asks the upstream one short question and prints what came of it on stdout: latency, model and token usage,
/// or the exact fault and what to do about it; `env_file` is named where a setting is missing. Returns the
/// exit code (sysexits.h).
int ping(const Config& config, const std::string& env_file);

}  // namespace bailian
