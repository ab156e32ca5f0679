#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ledger/period.h"
#include "ledger/redis_batch.h"

namespace bailian {

/// What a host knows of the counters of a day and its month, for a server that has lost them. Nothing if
/// `day` is 0.
std::vector<RedisBatch::Memory> redis_memory(Day day,
                                             const std::map<std::string, RedisTotals, std::less<>>& totals);

}  // namespace bailian
