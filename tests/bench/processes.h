#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bailian::bench {

/// Processes measured together, such as nginx's master and workers.
struct ProcessGroup {
  std::string name;
  std::vector<pid_t> pids;
};

/// CPU time in ns by thread, from /proc/PID/task/TID/schedstat, without threads that have ended.
using ThreadTimes = std::map<pid_t, int64_t>;
ThreadTimes thread_times(const ProcessGroup& group);
/// The increase of each thread in `after` since `before`.
ThreadTimes operator-(const ThreadTimes& after, const ThreadTimes& before);
int64_t sum(const ThreadTimes& times);

/// Proportional set size: private memory and a share of shared memory.
int64_t pss_kib(const ProcessGroup& group);

}  // namespace bailian::bench
