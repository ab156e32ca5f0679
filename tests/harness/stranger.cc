#include "harness/stranger.h"

#include <poll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>

#include "harness/deadline.h"

namespace bailian::e2e {
namespace {

std::string task_directory(pid_t pid) { return "/proc/" + std::to_string(pid) + "/task"; }

[[noreturn]] void fail(const char* verb) { throw std::system_error(errno, std::generic_category(), verb); }

}  // namespace

Stranger::Stranger(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {
  if (!pidfd_.is_open()) fail("pidfd_open");
}

Stranger::~Stranger() {
  if (pidfd_.is_open()) signal(SIGKILL);
}

void Stranger::signal(int number) const { syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0); }

void Stranger::await_end() const {
  const Deadline deadline;
  pollfd ending{pidfd_.get(), POLLIN, 0};
  while (poll(&ending, 1, deadline.left_ms()) != 1)
    if (deadline.left_ms() == 0)
      throw std::runtime_error("process " + std::to_string(pid_) + " does not end");
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file(task_directory(pid) + "/" + std::to_string(pid) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

size_t open_files_of(pid_t pid) {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  for (const auto& thread : std::filesystem::directory_iterator(task_directory(pid)))
    threads.push_back(std::stoi(thread.path().filename()));
  std::sort(threads.begin(), threads.end());
  return threads;
}

StoppedThread::StoppedThread(pid_t thread) : thread_(thread) {
  if (ptrace(PTRACE_SEIZE, thread_, nullptr, nullptr) < 0) fail("ptrace");
  if (ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) < 0) fail("ptrace");
  if (waitpid(thread_, nullptr, __WALL) != thread_) fail("waitpid");
}

StoppedThread::~StoppedThread() {
  // A thread whose process was killed in the meantime waits for its tracer.
  if (ptrace(PTRACE_DETACH, thread_, nullptr, nullptr) < 0) waitpid(thread_, nullptr, __WALL | WNOHANG);
}

}  // namespace bailian::e2e
