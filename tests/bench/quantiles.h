#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace bailian::bench {

/// Keeps every sample: a run has about 100,000.
class Quantiles {
 public:
  void add(std::chrono::nanoseconds sample) { samples_.push_back(sample.count()); }
  [[nodiscard]] bool empty() const { return samples_.empty(); }

  /// In us; sorts the samples. 0 without samples.
  double us(double quantile) {
    if (samples_.empty()) return 0;
    const auto index = static_cast<size_t>(quantile * static_cast<double>(samples_.size() - 1));
    std::nth_element(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(index), samples_.end());
    return static_cast<double>(samples_[index]) / 1000.0;
  }

 private:
  std::vector<int64_t> samples_;
};

}  // namespace bailian::bench
