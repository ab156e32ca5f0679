#pragma once

#include <string>
#include <vector>

#include "settings/config.h"

namespace bailian {

/// The settings that the target needs and that are not set, such as "DASHSCOPE_API_KEY_2 and APP_ID_2".
/// Empty: none.
std::string missing_for(const Target& target);

/// The settings that chats of this bot need and that are not set, those of its first target: none if any of
/// its targets has all.
std::string missing_for_chats(const Config& bot);

/// A sentence for each target of all bots that is not asked, though another one of its bot is.
std::vector<std::string> targets_not_asked(const Config& config);

}  // namespace bailian
