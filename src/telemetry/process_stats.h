#pragma once

#include <cstdint>
#include <future>
#include <optional>

namespace bailian {

/// What the kernel tells of this process.
struct ProcessStats {
  double cpu_seconds = 0;
  double start_time_seconds = 0;  // since 1970
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double threads = 0;
};
/// Nothing where there is no /proc.
std::optional<ProcessStats> read_process_stats();

/// How many files the process holds open. One thread at a time.
class OpenFiles {
 public:
  explicit OpenFiles(bool kernel_counts = kernel_counts_files());

  /// A kernel before 6.2 doesn't count them. To list them takes milliseconds when there are thousands, so
  /// there a thread does it for the next who asks; the first learns nothing.
  std::optional<uint64_t> count();

 private:
  static bool kernel_counts_files();

  const bool kernel_counts_;
  std::future<uint64_t> listed_;
  std::optional<uint64_t> last_;
};

}  // namespace bailian
