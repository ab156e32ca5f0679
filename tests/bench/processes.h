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

/// CPU time in ns by thread, from /proc/PID/task/TID/schedstat. Threads that have gone are missing.
using ThreadTimes = std::map<pid_t, int64_t>;
ThreadTimes thread_times(const ProcessGroup& group);
/// How far each thread of `after` has come since `before`.
ThreadTimes operator-(const ThreadTimes& after, const ThreadTimes& before);
int64_t sum(const ThreadTimes& times);

/// Proportional set size: private memory, and of shared memory one's part.
int64_t pss_kib(const ProcessGroup& group);

}  // namespace bailian::bench
