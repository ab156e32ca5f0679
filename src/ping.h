#pragma once

#include "config.h"

namespace bailian {

/// Asks the upstream one short question and prints what came of it on stdout: latency, model and token usage,
/// or the exact fault and what to do about it. Returns the exit code (sysexits.h).
int ping(const Config& config);

}  // namespace bailian
