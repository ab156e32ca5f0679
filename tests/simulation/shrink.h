#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace bailian::simulation {

using Script = std::vector<uint32_t>;

/// The shortest and plainest script near `script` for which `fails` is true, as it is for `script`. Stops
/// after `max_runs` calls.
Script shrink(Script script, const std::function<bool(const Script&)>& fails, int max_runs);

}  // namespace bailian::simulation
