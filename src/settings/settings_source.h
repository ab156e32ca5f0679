#pragma once

#include <optional>
#include <string>

#include "settings/config.h"

namespace bailian {

/// Where a command takes its settings from, besides the environment.
struct SettingsSource {
  std::optional<std::string> env_file;  // none: ./.env, if it exists
  std::optional<std::string> listen;    // takes precedence over FCGI_LISTEN
};

/// Throws ConfigError.
LoadedConfig load_settings(const SettingsSource& source, KeyFileReader reader = KeyFileReader::kThisProcess);

/// The address of the service. With `listen` set, no other setting is read: a user who may connect to the
/// service may lack the right to read its settings. Throws ConfigError.
ListenAddress service_address(const SettingsSource& source);

}  // namespace bailian
