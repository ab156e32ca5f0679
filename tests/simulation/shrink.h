#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace bailian::simulation {

using Script = std::vector<uint32_t>;

/// Makes `script`, for which `fails` is true, shorter and plainer as long as it stays true. Calls `fails` at
/// most `max_runs` times.
Script shrink(Script script, const std::function<bool(const Script&)>& fails, int max_runs);

}  // namespace bailian::simulation
