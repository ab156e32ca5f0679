#pragma once

#include "settings/settings_source.h"

namespace bailian {

/// Checks every setting and file, and prints a summary and the warnings; with `strict`, a warning counts as a
/// fault. When root checks the settings of the packaged service (.../bailian-fcgi/env), a file that the
/// service's user cannot read counts as a fault too. Returns the exit code. Throws ConfigError with the
/// faults of the settings.
int check(const SettingsSource& source, bool strict);

/// Prints the value of one setting as it is written in the environment or the file. Returns 1 if it is not
/// set, and EX_USAGE if there is no such setting or it is secret. Throws ConfigError.
int print_setting(const SettingsSource& source, const std::string& key);

}  // namespace bailian
