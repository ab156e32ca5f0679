#pragma once

#include <cstddef>

#include "settings/config.h"

namespace bailian {

/// Raises the limit on open files as MAX_STREAMS requires, or logs how many are missing.
void raise_file_limit(const Config& config);

/// How many connections may be open before idle ones are closed, so that idle peers leave descriptors for the
/// upstream connections of all streams.
size_t soft_max_connections(const Config& config);

}  // namespace bailian
