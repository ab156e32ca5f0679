#pragma once

#include <string>
#include <vector>

#include "ledger/report.h"
#include "settings/config.h"

namespace bailian {

/// Sentences about caps and prices that do not do what their owner may expect.
std::vector<std::string> cap_warnings(const Config& config);

/// The caps in words, a line for each bot that has any, and one that says what happens at a cap. `report`: of
/// the ledger; nullptr if it cannot be read or is not there yet.
std::vector<std::string> cap_lines(const Config& config, const LedgerReport* report);

}  // namespace bailian
