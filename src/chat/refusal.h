#pragma once

#include "base/exchange.h"
#include "ledger/ledger.h"

namespace bailian {

/// The answer to a visitor whose question the ledger refuses, or whose answer it ends.
HttpError to_http_error(const Refusal& refusal);

}  // namespace bailian
