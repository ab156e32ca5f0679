#pragma once

#include <string_view>

namespace bailian {

/// The setting that a misspelt name was probably meant to be; empty when the name is a setting, or is not
/// similar to one. In the environment, which other programs share, fewer names are suspected.
std::string_view suggested_setting(std::string_view name, bool is_in_environment);

}  // namespace bailian
