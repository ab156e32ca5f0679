#include "service/serving_process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

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

}  // namespace

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
