#pragma once

#include <string>
#include <vector>

#include "settings/redis_address.h"

namespace bailian {

/// Asks the server, for at most 5 s, and returns what its operator should know: that it cannot be used, or
/// may lose what it has been told. Throws std::system_error and std::bad_alloc.
std::vector<std::string> redis_warnings(const RedisAddress& address);

}  // namespace bailian
