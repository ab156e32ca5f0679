#pragma once

#include "load_options.h"
#include "report.h"

namespace bailian::bench {

// Each adds its figures to the report and returns whether the backend did everything right.
bool run_streams(const Options& options, Report& report);
bool run_requests(const Options& options, Report& report);
bool run_cancel(const Options& options, Report& report);
bool run_visits(const Options& options, Report& report);

}  // namespace bailian::bench
