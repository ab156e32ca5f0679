#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "harness/fd.h"

namespace bailian::e2e {

// What a process writes to one of its streams. A thread reads it, so that the writer never waits for us.
class Output {
 public:
  explicit Output(Fd fd);
  ~Output();

  std::string text() const;

  // The first line, already written or yet to come, that the test accepts; nothing when the stream ends or
  // patience does. The line is given without its end.
  std::optional<std::string> await_line(const std::function<bool(std::string_view)>& accepts) const;

 private:
  void read();

  Fd fd_;
  Fd stop_;
  mutable std::mutex mutex_;
  mutable std::condition_variable grown_;
  std::string text_;    // guarded by mutex_
  bool ended_ = false;  // guarded by mutex_
  std::thread reader_;
};

struct Command {
  std::vector<std::string> argv;
  std::vector<std::string> env;          // the whole environment but for PATH and the sanitizers' options
  std::string directory;                 // where it runs
  std::vector<std::pair<int, int>> fds;  // ours -> its own; 0 is /dev/null unless given
  bool announces_listen_fds = false;     // sets LISTEN_FDS=1 and LISTEN_PID, as systemd does for fd 3
  int signal_when_we_die = SIGKILL;
};

// A child process: killed and reaped at the latest by the destructor, and by the kernel when the tests die.
class Process {
 public:
  explicit Process(const Command& command);
  ~Process();

  pid_t pid() const { return pid_; }
  bool is_running();
  void signal(int number) const;
  // Wait for its end: the exit code, or 128 + the signal that ended it. Throw when patience ends.
  int wait();  // and for that of whoever else writes to its streams
  int wait_alone();
  bool dumped_core() const { return dumped_core_; }

  // As /proc tells them now.
  int64_t memory_kib() const;  // resident
  int64_t peak_memory_kib() const;
  // 0 where only root may look: into a program that leaves no core.
  size_t open_files() const;
  // Waits until it holds no more files than these.
  testing::AssertionResult falls_to_open_files(size_t most) const;

  const Output& out() const { return *out_; }
  const Output& err() const { return *err_; }

 private:
  void note_end(int status);

  pid_t pid_ = -1;
  Fd pidfd_;
  std::optional<int> exit_code_;
  bool dumped_core_ = false;
  std::optional<Output> out_;
  std::optional<Output> err_;
};

struct Finished {
  int exit_code;
  std::string out;
  std::string err;
};
Finished run(const Command& command);

}  // namespace bailian::e2e
