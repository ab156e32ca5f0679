#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <vector>

#include "harness/fd.h"

namespace bailian::e2e {

// A process that is not our child. The destructor kills it.
class Stranger {
 public:
  explicit Stranger(pid_t pid);
  Stranger(Stranger&&) = default;
  Stranger& operator=(Stranger&&) = default;
  ~Stranger();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // Waits for its end; throws when the deadline passes.
  void await_end() const;

 private:
  pid_t pid_;
  Fd pidfd_;
};

std::vector<pid_t> children_of(pid_t pid);
size_t open_files_of(pid_t pid);
std::vector<pid_t> threads_of(pid_t pid);  // in the order in which they started

// Stops one thread while the others keep running.
class StoppedThread {
 public:
  explicit StoppedThread(pid_t thread);
  ~StoppedThread();
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;

 private:
  pid_t thread_;
};

}  // namespace bailian::e2e
