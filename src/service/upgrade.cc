#include "service/upgrade.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "service/service_manager.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kTimeout{10};
constexpr int kPassedFd = 3;  // the first of LISTEN_FDS
constexpr int kNotStarted = 127;
constexpr std::string_view kListenPid = "LISTEN_PID=";
constexpr size_t kPidDigits = 12;

// As a shell would find it now: the file that this process runs may have been replaced or removed.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* const path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): it never changes
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const std::string_view directory = split_off(rest, ':');
    std::string candidate = fmt::format("{}/{}", directory.empty() ? "." : directory, name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  throw std::system_error(ENOENT, std::generic_category(), name);
}

// The name of an abstract socket. It is random, so no other process can bind it first.
std::string random_notify_name() {
  uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) throw_errno("getrandom");
  return fmt::format("{}{:016x}", ServiceManager::kPredecessor, random);
}

UniqueFd open_notify_socket(const std::string& name) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1, 1);  // abstract: a NUL in place of the @
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    throw_errno("a socket for notifications");
  }
  return fd;
}

bool is_set_for_successor(std::string_view variable) {
  for (const char* name : {"LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID="})
    if (variable.starts_with(name)) return true;
  return false;
}

// LISTEN_PID, with room for its value, comes first.
std::vector<std::string> environment_for_successor(const ListenSocket& socket, const std::string& notify) {
  std::vector<std::string> variables = {std::string(kListenPid) + std::string(kPidDigits, '\0'),
                                        "LISTEN_FDS=1", "NOTIFY_SOCKET=" + notify,
                                        fmt::format("LISTEN_FDNAMES={}", socket.name_for_successor())};
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!is_set_for_successor(*variable)) variables.emplace_back(*variable);
  return variables;
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Everything that the child needs, made before the fork: after it, other threads may hold any lock.
struct Launch {
  Launch(const std::vector<std::string>& arguments, const ListenSocket& socket, const std::string& notify)
      : program(find_program(arguments.front())),
        argv_strings(arguments),
        env_strings(environment_for_successor(socket, notify)),
        argv(pointers_to(argv_strings)),
        env(pointers_to(env_strings)),
        listening_fd(socket.fd()),
        listen_pid(env_strings.front().data() + kListenPid.size()) {}

  pid_t run() {
    // A signal handler that runs in the child before its exec would write to the pipe of our loop.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t child = ::fork();
    const int error = errno;
    if (child == 0) exec(before);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    if (child < 0) throw_errno("fork");
    return child;
  }

  [[noreturn]] void exec(const sigset_t& mask) {
    for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
    std::signal(SIGUSR2, SIG_IGN);  // until the successor handles it
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    const int passed = ::fcntl(listening_fd, F_DUPFD, kPassedFd + 1);
    const bool is_passed = passed >= 0 && ::dup2(passed, kPassedFd) == kPassedFd;
    if (listening_fd == STDIN_FILENO) ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    *std::to_chars(listen_pid, listen_pid + kPidDigits - 1, ::getpid()).ptr = '\0';
    // Not all of libcurl's sockets are close-on-exec, and the upstream must see when a visitor leaves.
    if (is_passed && ::close_range(kPassedFd + 1, ~0U, 0) == 0)
      ::execve(program.c_str(), argv.data(), env.data());
    ::_exit(kNotStarted);
  }

  std::string program;
  std::vector<std::string> argv_strings;
  std::vector<std::string> env_strings;
  std::vector<char*> argv;
  std::vector<char*> env;
  int listening_fd;
  char* listen_pid;  // the value of LISTEN_PID, which the child writes
};

struct Message {
  std::string_view text;
  pid_t sender;
};

// The next message, if there is one.
std::optional<Message> receive(int fd, std::array<char, 4096>& buffer) {
  iovec where{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
  msghdr header{};
  header.msg_iov = &where;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return std::nullopt;
  Message message{{buffer.data(), static_cast<size_t>(got)}, -1};
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
    message.sender = sender.pid;
  }
  return message;
}

bool has_line(std::string_view text, std::string_view wanted) {
  while (!text.empty())
    if (split_off(text, '\n') == wanted) return true;
  return false;
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return fmt::format("it was ended by signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == kNotStarted) return "it cannot be run";
  return fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

Upgrade::Upgrade(EventLoop& loop, std::vector<std::string> argv, Callback<void()> on_ready)
    : argv_(std::move(argv)),
      on_ready_(on_ready),
      message_(loop, bind<&Upgrade::on_message>(this)),
      end_(loop, bind<&Upgrade::on_end>(this)),
      timeout_(loop, bind<&Upgrade::on_timeout>(this)) {}

Upgrade::~Upgrade() {
  if (successor_ != 0 && !read_last_message()) kill_successor();
}

void Upgrade::start(const ListenSocket& socket) {
  if (successor_ != 0) return log(LogLevel::kInfo, "upgrade", "a successor is already starting");
  try {
    const std::string notify = random_notify_name();
    notifications_ = open_notify_socket(notify);
    Launch launch(argv_, socket, notify);
    successor_ = launch.run();
    log(LogLevel::kInfo, "upgrade", "a successor starts",
        {{"program", launch.program}, {"pid", double(successor_)}});
    successor_fd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, successor_, 0)));
    if (!successor_fd_) throw_errno("pidfd_open");
    message_.watch(notifications_.get(), IoEvent::kRead);
    end_.watch(successor_fd_.get(), IoEvent::kRead);
    timeout_.start(kTimeout);
  } catch (const std::exception& error) {
    if (successor_ != 0) kill_successor();
    fail(error.what());
  }
}

void Upgrade::cancel() {
  if (successor_ != 0) give_up("this program stops");
}

void Upgrade::on_timeout() { give_up(fmt::format("it was not ready in {} s", kTimeout.count())); }

// A successor that has sent READY=1 serves visitors.
void Upgrade::give_up(std::string_view why) {
  if (read_last_message()) return on_ready();
  kill_successor();
  fail(why);
}

void Upgrade::on_message() {
  if (is_ready()) on_ready();
}

bool Upgrade::is_ready() const {
  std::array<char, 4096> buffer;
  while (const auto message = receive(notifications_.get(), buffer))
    if (message->sender == successor_ && has_line(message->text, "READY=1")) return true;
  return false;
}

// After this, a READY=1 fails to be sent, and a successor that cannot send it exits without having served.
bool Upgrade::read_last_message() const {
  ::shutdown(notifications_.get(), SHUT_RD);
  return is_ready();
}

void Upgrade::on_ready() {
  const double pid = successor_;
  reset();
  on_ready_();  // first: the log line may fail for lack of memory
  log(LogLevel::kInfo, "upgraded", "the successor serves", {{"pid", pid}});
}

void Upgrade::on_end() {
  int status = 0;
  const pid_t ended = ::waitpid(successor_, &status, WNOHANG);
  if (ended == 0) return;
  fail(ended == successor_ ? describe_end(status) : "it is gone");
}

void Upgrade::kill_successor() {
  ::kill(successor_, SIGKILL);
  ::waitpid(successor_, nullptr, 0);
}

void Upgrade::fail(std::string_view why) {
  reset();
  log(LogLevel::kError, "upgrade_failed", fmt::format("no successor, nothing changes: {}", why));
}

void Upgrade::reset() {
  timeout_.cancel();
  message_.unwatch();
  end_.unwatch();
  notifications_ = {};
  successor_fd_ = {};
  successor_ = 0;
}

}  // namespace bailian
