// Preloaded into the responder: makes the n-th call of one function fail, as set in plan.h.

// With it, the headers define some of the functions that are defined here.
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>

#include "plan.h"

// The C library's own allocator. NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace bailian::torture {
namespace {

Plan* plan = nullptr;
bool in_main = false;

#ifndef KEEP_MALLOC
// The address of the call, for addr2line.
void show_crash(int signal) {
  constexpr int kMostFrames = 40;
  void* frames[kMostFrames];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, kMostFrames), STDERR_FILENO);
  std::raise(signal);
}

void show_crashes() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);  // loads what it needs
  struct sigaction action {};
  action.sa_handler = &show_crash;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) ::sigaction(signal, &action, nullptr);
}
#else
void show_crashes() {}
#endif

__attribute__((constructor)) void map_plan() {
  const char* path = std::getenv("FAIL_NTH");
  if (path == nullptr) return;
  show_crashes();
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) std::abort();
  void* page = ::mmap(nullptr, sizeof(Plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) std::abort();
  ::close(fd);
  plan = static_cast<Plan*>(page);
}

// The error to fail with, 0 for none.
int fault(Call call) {
  if (plan == nullptr || !in_main || !plan->counting) return 0;
  if (plan->process != 0 && plan->process != ::getpid()) return 0;
  const uint64_t count = ++plan->calls[call];
  if (call != plan->call || plan->nth == 0) return 0;
  if (count != plan->nth && !(plan->for_good && count > plan->nth)) return 0;
  ++plan->failed;
  return plan->error;
}

bool fails(Call call) {
  const int error = fault(call);
  if (error == 0) return false;
  errno = error;
  return true;
}

// I/O on an eventfd, a pipe or a socket pair within the process never fails in practice, so it does not fail
// here.
bool is_own(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return false;
  if (!S_ISSOCK(status.st_mode)) return S_ISFIFO(status.st_mode) || (status.st_mode & S_IFMT) == 0;
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0 && name.ss_family == AF_UNIX &&
         size == sizeof(sa_family_t) &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &(size = sizeof name)) == 0 &&
         size == sizeof(sa_family_t);
}

// False when it fails. Otherwise `bytes` is the number of bytes that may be transferred.
bool may_transfer(Call call, int fd, size_t& bytes) {
  const int saved = errno;
  const bool own = is_own(fd);
  errno = saved;
  const int error = own ? 0 : fault(call);
  if (error < 0) bytes = std::min(bytes, static_cast<size_t>(-error));
  if (error <= 0) return true;
  errno = error;
  return false;
}

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int (*program)(int, char**, char**) = nullptr;

int counted_main(int argc, char** argv, char** environment) {
  in_main = true;
  if (plan != nullptr && plan->from_main) plan->counting = true;
  return program(argc, argv, environment);
}

}  // namespace
}  // namespace bailian::torture

using namespace bailian::torture;

// The function that this library replaces.
#define REAL(name) static const auto real_##name = real<decltype(&::name)>(#name)

extern "C" {

// NOLINTNEXTLINE(bugprone-reserved-identifier)
int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*rtld_fini)(), void* stack_end) {
  using Start = int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
  program = main;
  return real<Start>("__libc_start_main")(&counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}

// A sanitizer has its own allocator.
#ifndef KEEP_MALLOC
void* malloc(size_t size) { return fails(kMemory) ? nullptr : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return fails(kMemory) ? nullptr : __libc_calloc(count, size); }
void* realloc(void* block, size_t size) { return fails(kMemory) ? nullptr : __libc_realloc(block, size); }
void* aligned_alloc(size_t alignment, size_t size) {
  return fails(kMemory) ? nullptr : __libc_memalign(alignment, size);
}
void* memalign(size_t alignment, size_t size) {
  return fails(kMemory) ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** block, size_t alignment, size_t size) {
  void* made = fails(kMemory) ? nullptr : __libc_memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *block = made;
  return 0;
}
#endif

ssize_t read(int fd, void* buffer, size_t bytes) {
  REAL(read);
  return may_transfer(kRead, fd, bytes) ? real_read(fd, buffer, bytes) : -1;
}
ssize_t recv(int fd, void* buffer, size_t bytes, int flags) {
  REAL(recv);
  return may_transfer(kRecv, fd, bytes) ? real_recv(fd, buffer, bytes, flags) : -1;
}
ssize_t send(int fd, const void* buffer, size_t bytes, int flags) {
  REAL(send);
  return may_transfer(kSend, fd, bytes) ? real_send(fd, buffer, bytes, flags) : -1;
}
ssize_t write(int fd, const void* buffer, size_t bytes) {
  REAL(write);
  return may_transfer(kWrite, fd, bytes) ? real_write(fd, buffer, bytes) : -1;
}
ssize_t pwrite(int fd, const void* buffer, size_t bytes, off_t offset) {
  REAL(pwrite);
  return may_transfer(kPwrite, fd, bytes) ? real_pwrite(fd, buffer, bytes, offset) : -1;
}
ssize_t getrandom(void* buffer, size_t bytes, unsigned flags) {
  REAL(getrandom);
  const int error = fault(kGetrandom);
  if (error < 0) bytes = std::min(bytes, static_cast<size_t>(-error));
  if (error <= 0) return real_getrandom(buffer, bytes, flags);
  errno = error;
  return -1;
}
ssize_t recvmsg(int fd, msghdr* message, int flags) {
  REAL(recvmsg);
  return fails(kRecvmsg) ? -1 : real_recvmsg(fd, message, flags);
}
int setsockopt(int fd, int level, int option, const void* value, socklen_t size) noexcept {
  REAL(setsockopt);
  return fails(kSetsockopt) ? -1 : real_setsockopt(fd, level, option, value, size);
}
int connect(int fd, const sockaddr* address, socklen_t size) {
  REAL(connect);
  return fails(kConnect) ? -1 : real_connect(fd, address, size);
}
int socket(int domain, int type, int protocol) noexcept {
  REAL(socket);
  return fails(kSocket) ? -1 : real_socket(domain, type, protocol);
}
int socketpair(int domain, int type, int protocol, int* pair) noexcept {
  REAL(socketpair);
  return fails(kPair) ? -1 : real_socketpair(domain, type, protocol, pair);
}
int pipe2(int* ends, int flags) noexcept {
  REAL(pipe2);
  return fails(kPair) ? -1 : real_pipe2(ends, flags);
}
int pipe(int* ends) noexcept {
  REAL(pipe);
  return fails(kPair) ? -1 : real_pipe(ends);
}
int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  REAL(accept4);
  return fails(kAccept) ? -1 : real_accept4(fd, address, size, flags);
}
int epoll_create1(int flags) noexcept {
  REAL(epoll_create1);
  return fails(kEpollCreate) ? -1 : real_epoll_create1(flags);
}
// Only EPOLL_CTL_ADD needs memory: the others cannot run out of it.
int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  REAL(epoll_ctl);
  return operation == EPOLL_CTL_ADD && fails(kEpollCtl) ? -1 : real_epoll_ctl(epoll, operation, fd, event);
}
int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  REAL(epoll_wait);
  return fails(kEpollWait) ? -1 : real_epoll_wait(epoll, events, most, timeout);
}
int eventfd(unsigned start, int flags) noexcept {
  REAL(eventfd);
  return fails(kEventfd) ? -1 : real_eventfd(start, flags);
}
int memfd_create(const char* name, unsigned flags) noexcept {
  REAL(memfd_create);
  return fails(kMemfdCreate) ? -1 : real_memfd_create(name, flags);
}
int ftruncate(int fd, off_t size) noexcept {
  REAL(ftruncate);
  return fails(kFtruncate) ? -1 : real_ftruncate(fd, size);
}
int open(const char* path, int flags, ...) {
  REAL(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  return fails(kOpen) ? -1 : real_open(path, flags, mode);
}
int fsync(int fd) {
  REAL(fsync);
  return fails(kFsync) ? -1 : real_fsync(fd);
}
int fchmod(int fd, mode_t mode) noexcept {
  REAL(fchmod);
  return fails(kFchmod) ? -1 : real_fchmod(fd, mode);
}
int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  return fails(kRename) ? -1 : real_rename(from, to);
}
int link(const char* from, const char* to) noexcept {
  REAL(link);
  return fails(kLink) ? -1 : real_link(from, to);
}
int mkostemp(char* name, int flags) {
  REAL(mkostemp);
  return fails(kTemporaryFile) ? -1 : real_mkostemp(name, flags);
}
char* realpath(const char* path, char* resolved) noexcept {
  REAL(realpath);
  return fails(kRealpath) ? nullptr : real_realpath(path, resolved);
}
// This function and execve() are called after a fork(), where dlsym() might wait for a lock that no thread
// will release. Changing the flags of a descriptor can't fail.
int fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  void* const argument = va_arg(more, void*);
  va_end(more);
  const bool makes = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return makes && fails(kDup) ? -1 : static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}
pid_t fork() noexcept {
  REAL(fork);
  return fails(kFork) ? -1 : real_fork();
}
int execve(const char* path, char* const* arguments, char* const* environment) noexcept {
  return fails(kExec) ? -1 : static_cast<int>(::syscall(SYS_execve, path, arguments, environment));
}
int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  REAL(bind);
  return fails(kBind) ? -1 : real_bind(fd, address, size);
}
int listen(int fd, int backlog) noexcept {
  REAL(listen);
  return fails(kListen) ? -1 : real_listen(fd, backlog);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
  REAL(pthread_create);
  const int error = fault(kThread);
  return error != 0 ? error : real_pthread_create(thread, attributes, run, argument);
}
int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** found) {
  REAL(getaddrinfo);
  const int error = fault(kResolve);
  return error != 0 ? error : real_getaddrinfo(name, service, hints, found);
}

}  // extern "C"
