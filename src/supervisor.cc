#include "supervisor.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <system_error>

namespace bailian {
namespace {

sigset_t signals_of_supervisor() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGABRT, SIGCHLD})
    ::sigaddset(&set, signal);
  return set;
}

// What is meant for the process that serves names it.
void name_this_process(const char* variable) {
  if (::getenv(variable) != nullptr)                            // NOLINT(concurrency-mt-unsafe)
    ::setenv(variable, std::to_string(::getpid()).c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
}

void begin_child(pid_t supervisor) {
  // Not SIGTERM: where a service manager sends that to all processes, this one would be the second, which
  // ends the answers.
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (::getppid() != supervisor) ::_exit(EX_OK);  // it died before
  for (const int signal : {SIGHUP, SIGUSR1, SIGUSR2})
    std::signal(signal, SIG_IGN);  // until they are listened to
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
  return 128 + signal;  // the first process of a container survives
}

std::optional<int> reap(pid_t child) {
  int status = 0;
  // Others come where this is the first process of a container.
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (ended == child) return end_like(status);
  return std::nullopt;
}

int wait_for_end(pid_t child, const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (::sigwait(&signals, &signal) != 0) continue;
    switch (signal) {
      case SIGTERM:
      case SIGINT:
      case SIGQUIT:
        return EX_OK;
      case SIGCHLD:
        if (const auto code = reap(child)) return *code;
        break;
      default:
        ::kill(child, signal);
    }
  }
}

}  // namespace

std::optional<int> supervise() {
  const sigset_t signals = signals_of_supervisor();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  // Ignored, as some parents leave it, it would let children end unseen.
  std::signal(SIGCHLD, SIG_DFL);
  ::prctl(PR_SET_DUMPABLE, 0);  // the key may be in the environment
  const pid_t supervisor = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child > 0) return wait_for_end(child, signals);
  begin_child(supervisor);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return std::nullopt;
}

}  // namespace bailian
