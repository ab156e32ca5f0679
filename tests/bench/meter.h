#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "connection.h"
#include "processes.h"
#include "report.h"

namespace bailian::bench {

/// CPU and memory of every group from `start()` to `stop()`.
class Meter {
 public:
  explicit Meter(const std::vector<ProcessGroup>& groups) : groups_(groups) {
    for (const ProcessGroup& group : groups_) pss_before_.push_back(pss_kib(group));
  }

  void start() {
    before_.clear();
    for (const ProcessGroup& group : groups_) before_.push_back(thread_times(group));
    start_ = Clock::now();
  }

  void stop() {
    seconds_ = Clock::now() - start_;
    used_.clear();
    for (size_t i = 0; i < groups_.size(); ++i) used_.push_back(thread_times(groups_[i]) - before_[i]);
  }

  [[nodiscard]] double seconds() const { return seconds_.count(); }

  /// Reports the CPU time per `unit`, "token" or "request"; `streams`: how many are open now.
  void write(Report& report, std::string_view unit, size_t units, size_t streams) const {
    report.begin("processes");
    for (size_t i = 0; i < groups_.size(); ++i) {
      report.begin(groups_[i].name);
      const double cpu_us = static_cast<double>(sum(used_[i])) / 1000;
      report.add("cpu_us", cpu_us);
      report.add("cpu_us_per_" + std::string(unit), units == 0 ? 0 : cpu_us / static_cast<double>(units));
      report.begin_list("threads_cpu_us");
      for (const auto& [thread, ns] : used_[i]) report.add(static_cast<double>(ns) / 1000);
      report.end_list();
      if (streams != 0) {
        const int64_t pss = pss_kib(groups_[i]);
        report.add("pss_before_kib", static_cast<size_t>(pss_before_[i]));
        report.add("pss_after_kib", static_cast<size_t>(pss));
        report.add("pss_per_stream_kib",
                   static_cast<double>(pss - pss_before_[i]) / static_cast<double>(streams));
      }
      report.end();
    }
    report.end();
  }

 private:
  const std::vector<ProcessGroup>& groups_;
  std::vector<int64_t> pss_before_;
  std::vector<ThreadTimes> before_;
  std::vector<ThreadTimes> used_;
  Clock::time_point start_;
  std::chrono::duration<double> seconds_{};
};

}  // namespace bailian::bench
