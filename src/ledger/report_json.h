#pragma once

#include <string>

#include "ledger/report.h"

namespace bailian {

/// The report as one JSON object, for `usage --json` and the status page. Throws std::bad_alloc.
std::string report_json(const LedgerReport& report);

}  // namespace bailian
