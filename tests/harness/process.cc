#include "harness/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "harness/deadline.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

constexpr std::string_view kListenPid = "LISTEN_PID=";

[[noreturn]] void fail(const char* verb) { throw std::system_error(errno, std::generic_category(), verb); }

std::pair<Fd, Fd> make_pipe() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) < 0) fail("pipe");
  return {Fd(ends[0]), Fd(ends[1])};
}

bool is_inherited(std::string_view variable) {
  const auto name = variable.substr(0, variable.find('='));
  return name == "PATH" || name.ends_with("SAN_OPTIONS") || name.ends_with("SYMBOLIZER_PATH");
}

std::vector<std::string> environment_of(const Command& command) {
  auto all = command.env;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (is_inherited(*variable)) all.emplace_back(*variable);
  if (command.announces_listen_fds) {
    all.emplace_back("LISTEN_FDS=1");
    all.push_back(std::string(kListenPid) + std::string(12, '\0'));
  }
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (auto& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

int64_t status_number(pid_t pid, const char* name) {
  const auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  return std::stol(status.substr(status.find(name) + std::strlen(name)));
}

// Everything the child needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Launch {
  explicit Launch(const Command& command)
      : argv_strings(command.argv),
        env_strings(environment_of(command)),
        argv(pointers_to(argv_strings)),
        env(pointers_to(env_strings)),
        directory(command.directory),
        fds(command.fds),
        signal_when_we_die(command.signal_when_we_die) {
    for (auto& variable : env_strings)
      if (variable.starts_with(kListenPid)) listen_pid = variable.data() + kListenPid.size();
  }

  [[noreturn]] void run_in_child(pid_t parent, int out, int err);

  std::vector<std::string> argv_strings;
  std::vector<std::string> env_strings;
  std::vector<char*> argv;
  std::vector<char*> env;
  std::string directory;
  std::vector<std::pair<int, int>> fds;
  int signal_when_we_die;
  char* listen_pid = nullptr;
};

void Launch::run_in_child(pid_t parent, int out, int err) {
  prctl(PR_SET_PDEATHSIG, signal_when_we_die);
  if (getppid() != parent) _exit(125);
  // A shell ignores them in background commands, and children inherit that.
  for (const int number : {SIGINT, SIGQUIT, SIGHUP}) ::signal(number, SIG_DFL);
  if (!directory.empty() && chdir(directory.c_str()) < 0) _exit(126);
  // First move all sources above the targets, so that no target overwrites one that is still needed.
  constexpr int kAboveTargets = 64;
  for (auto& [ours, its] : fds) ours = fcntl(ours, F_DUPFD_CLOEXEC, kAboveTargets);
  out = fcntl(out, F_DUPFD_CLOEXEC, kAboveTargets);
  err = fcntl(err, F_DUPFD_CLOEXEC, kAboveTargets);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, 0);
  dup2(out, 1);
  dup2(err, 2);
  for (auto [ours, its] : fds) dup2(ours, its);
  if (listen_pid != nullptr) *std::to_chars(listen_pid, listen_pid + 11, getpid()).ptr = '\0';
  execvpe(argv[0], argv.data(), env.data());
  _exit(127);
}

}  // namespace

Output::Output(Fd fd) : fd_(std::move(fd)), stop_(eventfd(0, EFD_CLOEXEC)), reader_([this] { read(); }) {}

Output::~Output() {
  eventfd_write(stop_.get(), 1);
  reader_.join();
}

void Output::read() {
  std::array<char, 65536> buffer;
  while (true) {
    std::array<pollfd, 2> waiting{{{fd_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno == EINTR) continue;
    const ssize_t got = waiting[0].revents != 0 ? ::read(fd_.get(), buffer.data(), buffer.size()) : 0;
    const std::lock_guard lock(mutex_);
    ended_ = got <= 0;
    if (!ended_) text_.append(buffer.data(), static_cast<size_t>(got));
    grown_.notify_all();
    if (ended_) return;
  }
}

std::string Output::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

std::optional<std::string> Output::await_line(const std::function<bool(std::string_view)>& accepts) const {
  const Deadline deadline;
  std::unique_lock lock(mutex_);
  size_t start = 0;
  while (true) {
    for (size_t end = text_.find('\n', start); end != std::string::npos; end = text_.find('\n', start)) {
      auto line = text_.substr(start, end - start);
      if (accepts(line)) return line;
      start = end + 1;
    }
    if (ended_ || deadline.left_ms() == 0) return std::nullopt;
    grown_.wait_for(lock, std::chrono::milliseconds(deadline.left_ms()));
  }
}

Process::Process(const Command& command) {
  auto [out_reader, out_writer] = make_pipe();
  auto [err_reader, err_writer] = make_pipe();
  Launch launch(command);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) launch.run_in_child(parent, out_writer.get(), err_writer.get());
  pidfd_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  out_.emplace(std::move(out_reader));
  err_.emplace(std::move(err_reader));
}

Process::~Process() {
  if (is_running()) {
    signal(SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
  }
}

void Process::note_end(int status) {
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  dumped_core_ = WIFSIGNALED(status) && WCOREDUMP(status);
}

bool Process::is_running() {
  int status = 0;
  if (!exit_code_ && waitpid(pid_, &status, WNOHANG) == pid_) note_end(status);
  return !exit_code_;
}

void Process::signal(int number) const {
  if (!exit_code_) kill(pid_, number);
}

int Process::wait_alone() {
  const Deadline deadline;
  pollfd ending{pidfd_.get(), POLLIN, 0};
  while (is_running()) {
    if (deadline.left_ms() == 0)
      throw std::runtime_error("process " + std::to_string(pid_) + " does not end; its stderr:\n" +
                               err_->text());
    poll(&ending, 1, deadline.left_ms());
  }
  return *exit_code_;
}

int Process::wait() {
  const int exit_code = wait_alone();
  out_->await_line([](auto) { return false; });
  err_->await_line([](auto) { return false; });
  return exit_code;
}

std::string Process::await_ready(const Output& stream, std::string_view part) const {
  const auto line = stream.await_line([&](auto text) { return text.find(part) != text.npos; });
  if (!line)
    throw std::runtime_error("process " + std::to_string(pid_) + " wrote no line with \"" +
                             std::string(part) + "\":\n" + out_->text() + err_->text());
  return *line;
}

int64_t Process::memory_kib() const { return status_number(pid_, "VmRSS:"); }

int64_t Process::peak_memory_kib() const { return status_number(pid_, "VmHWM:"); }

size_t Process::open_files() const {
  std::error_code denied;
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid_) + "/fd", denied);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

testing::AssertionResult Process::falls_to_open_files(size_t most) const {
  const Deadline deadline;
  while (open_files() > most) {
    if (deadline.left_ms() == 0) return testing::AssertionFailure() << open_files() << " files are open";
    std::this_thread::yield();
  }
  return testing::AssertionSuccess();
}

Finished run(const Command& command) {
  Process process(command);
  const int exit_code = process.wait();
  return {exit_code, process.out().text(), process.err().text()};
}

}  // namespace bailian::e2e
