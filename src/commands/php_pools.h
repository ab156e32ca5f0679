#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailian {

/// A pool of PHP-FPM, whose scripts run as this user.
struct PhpPool {
  std::string name;
  std::string user;   // a name, or a number
  std::string group;  // as above; empty: the user's own group
  bool operator==(const PhpPool&) const = default;
};

/// The pools of a configuration file of PHP-FPM (`pool.d/*.conf`, an INI file) that name their user.
/// Never fails: it skips lines that it does not understand. Included files are not read.
std::vector<PhpPool> parse_php_pools(std::string_view text);

}  // namespace bailian
