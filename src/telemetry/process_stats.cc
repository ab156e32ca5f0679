#include "telemetry/process_stats.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace bailian {
namespace {

constexpr const char* kFileDirectory = "/proc/self/fd";

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
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

std::optional<ProcessStats> read_process_stats() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The program's name may contain spaces and parentheses.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream text(line.substr(name_end + 1));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(text), {}};
  constexpr size_t kFirst = 3;  // proc(5) numbers the fields; the state is the third
  constexpr size_t kResidentPages = 24;
  if (fields.size() <= kResidentPages - kFirst) return std::nullopt;
  const auto field = [&](size_t number) { return std::stod(fields[number - kFirst]); };
  static const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  static const double page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  // Computed once, so that the start time does not move when the clock is set. /proc/stat has it too, but
  // sandboxes hide that.
  static const double boot_time = seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME);
  return ProcessStats{.cpu_seconds = (field(14) + field(15)) / ticks,
                      .start_time_seconds = boot_time + field(22) / ticks,
                      .resident_bytes = field(kResidentPages) * page_bytes,
                      .virtual_bytes = field(23),
                      .threads = field(20)};
}

bool OpenFiles::kernel_counts_files() { return counted_by_kernel() > 0; }

std::optional<uint64_t> OpenFiles::count() {
  if (kernel_counts_) return counted_by_kernel();
  using std::chrono::seconds;
  try {
    if (listed_.valid() && listed_.wait_for(seconds::zero()) == std::future_status::ready)
      last_ = listed_.get();
    if (!listed_.valid()) listed_ = std::async(std::launch::async, list_files);
  } catch (const std::system_error&) {  // no /proc, no descriptor, or no thread
    last_.reset();
  }
  return last_;
}

}  // namespace bailian
