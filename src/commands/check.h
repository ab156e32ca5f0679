#pragma once

#include <optional>
#include <string>

#include "settings/config.h"

namespace bailian {

/// Whether root looks at the settings of the packaged service (.../bailian-fcgi/env), which runs as another
/// user.
bool is_read_for_service(const std::optional<std::string>& env_file);

/// `--check` of settings that have no faults: prints what they come to, and the warnings; under `strict` a
/// warning is a fault. For the packaged service it is a fault too if its user cannot read a file. Returns the
/// exit code.
int check(const LoadedConfig& loaded, const std::optional<std::string>& env_file, bool strict);

/// Prints the value of one setting as it is written in the environment or the file. Returns 1 when it is not
/// set, and EX_USAGE when there is no such setting or it is secret.
int print_setting(const LoadedConfig& loaded, const std::string& key);

}  // namespace bailian
