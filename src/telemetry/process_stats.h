#pragma once

#include <cstdint>
#include <future>
#include <optional>

namespace bailian {

/// The kernel's figures about this process.
struct ProcessStats {
  double cpu_seconds = 0;
  double start_time_seconds = 0;  // since 1970
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double threads = 0;
};
/// Nothing if there is no /proc.
std::optional<ProcessStats> read_process_stats();

/// Counts the open files of the process. One thread at a time.
class OpenFiles {
 public:
  explicit OpenFiles(bool kernel_counts = kernel_counts_files()) : kernel_counts_(kernel_counts) {}

  /// Kernels before 6.2 do not count them. Listing thousands takes milliseconds, so a thread does it for
  /// the next call; the first call returns nothing.
  std::optional<uint64_t> count();

 private:
  static bool kernel_counts_files();

  const bool kernel_counts_;
  std::future<uint64_t> listed_;
  std::optional<uint64_t> last_;
};

}  // namespace bailian
