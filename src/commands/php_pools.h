#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailian {

/// A pool of PHP-FPM: whoever can make its scripts do something acts as this user.
struct PhpPool {
  std::string name;
  std::string user;   // a name, or a number
  std::string group;  // the same; empty: the user's own
  bool operator==(const PhpPool&) const = default;
};

/// The pools of a configuration file of PHP-FPM (`pool.d/*.conf`, an INI file) that name their user.
/// Never fails: lines that are not understood are passed over. Included files are not read.
std::vector<PhpPool> parse_php_pools(std::string_view text);

}  // namespace bailian
