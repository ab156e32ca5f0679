#pragma once

#include <optional>
#include <string>

#include "settings/settings_source.h"

namespace bailian {

struct UsageOptions {
  bool json = false;
  int days = 7;                    // the latest, at most
  std::optional<std::string> bot;  // none: all
  bool open_period = false;        // the clock's day begins, though it seems to have jumped
};

/// Prints what was used, what is left of each cap, and what is paused. Returns the exit code. Throws
/// ConfigError and ExitError.
int usage(const SettingsSource& source, const UsageOptions& options);

}  // namespace bailian
