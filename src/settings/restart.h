#pragma once

#include <string_view>
#include <vector>

#include "settings/config.h"

namespace bailian {

/// Copies the settings that need a restart from `running` to `read`. Returns the keys that differed.
std::vector<std::string_view> keep_what_needs_a_restart(const Config& running, Config& read);

}  // namespace bailian
