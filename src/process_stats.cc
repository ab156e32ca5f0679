#include "process_stats.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace bailian {
namespace {

constexpr const char* kFileDirectory = "/proc/self/fd";

double boot_time_seconds() {
  std::ifstream stat("/proc/stat");
  std::string word;
  double seconds = 0;
  while (stat >> word) {
    if (word == "btime" && stat >> seconds) return seconds;
  }
  throw std::runtime_error("/proc/stat has no btime");
}

uint64_t counted_by_kernel() {
  struct stat directory {};
  return ::stat(kFileDirectory, &directory) == 0 ? static_cast<uint64_t>(directory.st_size) : 0;
}

uint64_t list_files() {
  const auto entries = std::distance(std::filesystem::directory_iterator(kFileDirectory), {});
  return static_cast<uint64_t>(entries) - 1;  // the directory itself is one of them
}

}  // namespace

ProcessStats read_process_stats() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The program's name may have blanks and parentheses in it.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) throw std::runtime_error("cannot read /proc/self/stat");
  std::istringstream fields(line.substr(name_end + 1));
  // proc(5): the state is field 3.
  constexpr int kFirst = 3;
  constexpr int kUserTime = 14;
  constexpr int kSystemTime = 15;
  constexpr int kThreads = 20;
  constexpr int kStartTime = 22;
  constexpr int kVirtualBytes = 23;
  constexpr int kResidentPages = 24;
  static const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  static const double page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  static const double boot_time = boot_time_seconds();
  ProcessStats stats;
  std::string field;
  for (int number = kFirst; number <= kResidentPages && fields >> field; ++number) {
    switch (number) {
      case kUserTime:
      case kSystemTime:
        stats.cpu_seconds += std::stod(field) / ticks;
        break;
      case kThreads:
        stats.threads = std::stod(field);
        break;
      case kStartTime:
        stats.start_time_seconds = boot_time + std::stod(field) / ticks;
        break;
      case kVirtualBytes:
        stats.virtual_bytes = std::stod(field);
        break;
      case kResidentPages:
        stats.resident_bytes = std::stod(field) * page_bytes;
        break;
      default:
        break;
    }
  }
  return stats;
}

bool OpenFiles::kernel_counts_files() { return counted_by_kernel() > 0; }

OpenFiles::OpenFiles(bool kernel_counts) : kernel_counts_(kernel_counts) {}

std::optional<uint64_t> OpenFiles::count() {
  if (kernel_counts_) return counted_by_kernel();
  using std::chrono::seconds;
  if (listed_.valid() && listed_.wait_for(seconds::zero()) == std::future_status::ready)
    last_ = listed_.get();
  if (!listed_.valid()) listed_ = std::async(std::launch::async, list_files);
  return last_;
}

}  // namespace bailian
