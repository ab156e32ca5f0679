#pragma once

#include "load_options.h"
#include "report.h"

namespace bailian::bench {

// Each writes its figures into the report and says whether the backend did all it should.
bool run_streams(const Options& options, Report& report);
bool run_requests(const Options& options, Report& report);
bool run_cancel(const Options& options, Report& report);

}  // namespace bailian::bench
