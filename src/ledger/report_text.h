#pragma once

#include <string>

#include "ledger/report.h"

namespace bailian {

/// The report for a reader, for `usage` and the status page: for each bot its caps, then its days, in columns
/// that are as wide as their contents. Throws std::bad_alloc.
std::string report_text(const LedgerReport& report);

/// A number of tokens in few columns: exact, or in millions above 99,999,999.
std::string tokens_text(uint64_t tokens);

}  // namespace bailian
