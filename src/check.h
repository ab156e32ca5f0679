#pragma once

#include "config.h"

namespace bailian {

struct CheckOptions {
  bool strict = false;  // a warning is a fault
};

/// `--check` of settings that have no faults: prints what they come to, and the warnings. Returns the exit
/// code.
int check(const LoadedConfig& loaded, const CheckOptions& options);

}  // namespace bailian
