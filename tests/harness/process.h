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

// The output of a process on one of its streams. A thread reads it, so the writer never blocks.
class Output {
 public:
  explicit Output(Fd fd);
  ~Output();

  std::string text() const;

  // The first line, already written or yet to come, that the test accepts, without its line end. Nothing when
  // the stream ends or the deadline passes.
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
  std::vector<std::string> env;          // all of it, except PATH and the sanitizers' options
  std::string directory;                 // its working directory
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
  // Both wait for its end and return the exit code, or 128 + the signal that ended it. They throw when the
  // deadline passes.
  int wait();  // until every other writer of its streams has ended too
  int wait_alone();
  bool dumped_core() const { return dumped_core_; }

  // From /proc, now.
  int64_t memory_kib() const;  // resident
  int64_t peak_memory_kib() const;
  // 0 unless run by root: the program does not let other users look.
  size_t open_files() const;
  // Waits until it has at most this many files open.
  testing::AssertionResult falls_to_open_files(size_t most) const;

  // Waits for a line that contains this on one of its streams, and returns it. Throws with its whole output
  // when the stream ends or the deadline passes.
  std::string await_ready(const Output& stream, std::string_view part) const;

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
