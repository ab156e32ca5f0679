#include "processes.h"

#include <filesystem>
#include <fstream>

namespace bailian::bench {
namespace {

std::filesystem::path proc(pid_t pid) { return std::filesystem::path("/proc") / std::to_string(pid); }

}  // namespace

ThreadTimes thread_times(const ProcessGroup& group) {
  ThreadTimes times;
  for (const pid_t pid : group.pids) {
    std::error_code gone;
    for (const auto& task : std::filesystem::directory_iterator(proc(pid) / "task", gone)) {
      int64_t ns = 0;
      if (std::ifstream(task.path() / "schedstat") >> ns) times[std::stoi(task.path().filename())] = ns;
    }
  }
  return times;
}

ThreadTimes operator-(const ThreadTimes& after, const ThreadTimes& before) {
  ThreadTimes difference = after;
  for (auto& [thread, ns] : difference) {
    const auto earlier = before.find(thread);
    if (earlier != before.end()) ns -= earlier->second;
  }
  return difference;
}

int64_t sum(const ThreadTimes& times) {
  int64_t total = 0;
  for (const auto& [thread, ns] : times) total += ns;
  return total;
}

int64_t pss_kib(const ProcessGroup& group) {
  int64_t total = 0;
  for (const pid_t pid : group.pids) {
    std::ifstream rollup(proc(pid) / "smaps_rollup");
    for (std::string word; rollup >> word;) {
      int64_t kib = 0;
      if (word == "Pss:" && rollup >> kib) {
        total += kib;
        break;
      }
    }
  }
  return total;
}

}  // namespace bailian::bench
