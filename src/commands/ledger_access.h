#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ledger/ledger.h"
#include "settings/settings_source.h"

namespace bailian {

/// The settings for a command that asks nothing upstream: the key files are not read, as only root may be
/// able to. Throws ConfigError.
Config load_without_keys(const SettingsSource& source);

/// Whether the ledger is a file, not a server's.
bool is_file_ledger(const Config& config);

/// The ledger of the settings with its caps, which may have a fault; nullptr if there is none. Run by root,
/// the process goes on as the owner of the ledger's folder, so that it leaves no file there that the service
/// cannot use. Throws ConfigError and std::system_error.
std::unique_ptr<Ledger> open_ledger_as_owner(const Config& config);

/// Likewise, but throws ExitError if there is none or it has a fault.
std::unique_ptr<Ledger> open_usable_ledger(const Config& config);

/// What `--bot` names in the ledger: without it all, an empty name. Throws ExitError if there is no such bot.
std::string bot_in_ledger(const Config& config, const std::optional<std::string>& bot);

}  // namespace bailian
