#pragma once

#include "settings/config.h"
#include "simulation/choices.h"

namespace bailian::simulation {

/// Runs one schedule, from the start of the product to its end. A broken invariant ends the process: see
/// violated(). Returns the number of requests.
int run_schedule(Choices& choices, const Config& base, bool is_traced);

/// The default settings with a key and an application.
Config base_settings();

}  // namespace bailian::simulation
