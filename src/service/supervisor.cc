#include "service/supervisor.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "fastcgi/listen_socket.h"

namespace bailian {
namespace {

// 0: none. Linux 5.12 and later return 0 if the process has ended.
pid_t recorded(int listening_fd) {
  f_owner_ex owner{};
  if (::fcntl(listening_fd, F_GETOWN_EX, &owner) != 0 || owner.type != F_OWNER_PID) return 0;
  return owner.pid;
}

void record(int listening_fd, pid_t pid) {
  const f_owner_ex owner{F_OWNER_PID, pid};
  ::fcntl(listening_fd, F_SETOWN_EX, &owner);
}

sigset_t signals_of_supervisor() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal :
       {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGABRT, SIGCHLD, hand_over_signal()})
    ::sigaddset(&set, signal);
  return set;
}

// These variables name the process that they are meant for: the one that serves.
void name_this_process(const char* variable) {
  if (::getenv(variable) != nullptr)                            // NOLINT(concurrency-mt-unsafe)
    ::setenv(variable, std::to_string(::getpid()).c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
}

void begin_child(pid_t supervisor) {
  ::prctl(PR_SET_PDEATHSIG, hand_over_signal());
  if (::getppid() != supervisor) ::_exit(EX_OK);  // it ended before the prctl
  for (const int signal : {SIGHUP, SIGUSR1, SIGUSR2})
    std::signal(signal, SIG_IGN);  // until the server handles them
  name_this_process("LISTEN_PID");
  name_this_process("WATCHDOG_PID");
  ::unsetenv("LISTEN_PIDFDID");  // NOLINT(concurrency-mt-unsafe)
}

int end_like(int status) {
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
  const int signal = WTERMSIG(status);
  std::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  return 128 + signal;  // the signal does not end the first process of a container
}

std::optional<int> reap(pid_t child) {
  int status = 0;
  // The first process of a container inherits other children too.
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (ended == child) return end_like(status);
  return std::nullopt;
}

// Stops the child, and the predecessor that serves while the child waits for good settings.
void stop_serving(pid_t child) {
  // Not SIGTERM: if the service manager sends that to all processes, the child would get a second one, which
  // aborts its answers.
  ::kill(child, stop_signal());
  const UniqueFd earlier = other_serving_process(ListenSocket::inherited_fd(), child);
  if (earlier) drain_process(earlier);
}

int wait_for_end(pid_t child, const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (::sigwait(&signals, &signal) != 0) continue;
    switch (signal) {
      case SIGTERM:
      case SIGINT:
      case SIGQUIT:
        stop_serving(child);
        return EX_OK;
      case SIGCHLD:
        if (const auto code = reap(child)) return *code;
        break;
      default:
        if (signal == hand_over_signal()) return EX_OK;
        ::kill(child, signal);
    }
  }
}

}  // namespace

int hand_over_signal() { return SIGRTMIN; }
// Lower than hand_over_signal(), because the kernel delivers the lower of two pending signals first: the
// child gets both, as its parent exits at once.
int stop_signal() { return SIGPWR; }

std::optional<int> supervise() {
  const sigset_t signals = signals_of_supervisor();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  // Some parents leave SIGCHLD ignored; then the exit of a child could not be noticed.
  std::signal(SIGCHLD, SIG_DFL);
  const pid_t supervisor = ::getpid();
  for (;;) {
    const pid_t child = ::fork();
    if (child < 0) throw_errno("fork");
    if (child == 0) {
      begin_child(supervisor);
      ::sigprocmask(SIG_SETMASK, &before, nullptr);
      return std::nullopt;
    }
    const int code = wait_for_end(child, signals);
    if (code != kStartAgain) return code;
  }
}

UniqueFd other_serving_process(int listening_fd, pid_t besides) noexcept {
  const pid_t pid = recorded(listening_fd);
  if (pid <= 0 || pid == ::getpid() || pid == besides) return {};
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // As long as the record names it, the pid has not been reused.
  return process && recorded(listening_fd) == pid ? std::move(process) : UniqueFd();
}

void record_serving(int listening_fd) noexcept { record(listening_fd, ::getpid()); }

void record_not_serving(int listening_fd) noexcept {
  if (recorded(listening_fd) == ::getpid()) record(listening_fd, 0);
}

void drain_process(const UniqueFd& process) noexcept {
  ::syscall(SYS_pidfd_send_signal, process.get(), SIGQUIT, nullptr, 0);
}

}  // namespace bailian
