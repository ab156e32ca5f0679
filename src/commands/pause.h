#pragma once

#include <optional>
#include <string>

#include "settings/settings_source.h"

namespace bailian {

struct PauseOptions {
  std::optional<std::string> bot;  // none: all
  bool at_once = false;            // answers in progress end too
  std::string message;             // for visitors
};

/// Pauses a bot or all of them, from the next question on, until resume(). Returns the exit code. Throws
/// ConfigError and ExitError.
int pause(const SettingsSource& source, const PauseOptions& options);

/// Likewise. What was paused by another name stays paused, and is printed.
int resume(const SettingsSource& source, const std::optional<std::string>& bot);

}  // namespace bailian
