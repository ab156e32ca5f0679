#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "telemetry/metrics.h"

namespace bailian {

/// What Metrics itself adds to the gauges.
struct OwnValues {
  double sent_bytes = 0;
  double received_bytes = 0;
  std::optional<uint64_t> open_files;  // none: not known yet
};

/// Of the counters with this label, or without a label of all.
uint64_t sum_of_counters(const std::vector<prometheus::MetricFamily>& families, std::string_view label,
                         std::string_view value);

/// Adds the families whose values are computed on each scrape. Any thread. Throws std::bad_alloc.
void add_computed(std::vector<prometheus::MetricFamily>& families, const Gauges& gauges,
                  const OwnValues& own);

}  // namespace bailian
