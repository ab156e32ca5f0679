#include "ledger/alert_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "base/text.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kMaxDuration{10};

/// How the child differs from this process.
class SpawnOptions {
 public:
  SpawnOptions() {
    ::posix_spawn_file_actions_init(&files_);
    ::posix_spawn_file_actions_addopen(&files_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&files_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    // Not all of libcurl's sockets are close-on-exec.
    ::posix_spawn_file_actions_addclosefrom_np(&files_, STDERR_FILENO + 1);
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnOptions() {
    ::posix_spawn_file_actions_destroy(&files_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnOptions(const SpawnOptions&) = delete;
  SpawnOptions& operator=(const SpawnOptions&) = delete;

  [[nodiscard]] const posix_spawn_file_actions_t* files() const { return &files_; }
  [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t files_{};
  posix_spawnattr_t attributes_{};
};

std::vector<std::string> words_of(std::string_view command) {
  std::vector<std::string> words;
  while (!command.empty()) {
    const std::string_view word = split_off(command, ' ');
    if (!word.empty()) words.emplace_back(word);
  }
  return words;
}

// The environment may hold keys.
void add_harmless_variables(std::vector<std::string>& variables) {
  for (const char* const name : {"PATH", "HOME", "LANG", "TZ"}) {
    const char* const value = ::getenv(name);  // NOLINT(concurrency-mt-unsafe): it never changes
    if (value != nullptr) variables.push_back(fmt::format("{}={}", name, value));
  }
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void log_failure(std::string_view what) {
  log(LogLevel::kError, "alert_command_failed", fmt::format("CAP_ALERT_COMMAND: {}", what));
}

void log_end(int status) {
  if (WIFSIGNALED(status)) return log_failure(fmt::format("it was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) log_failure(fmt::format("it ended with exit code {}", WEXITSTATUS(status)));
}

}  // namespace

AlertCommands::~AlertCommands() {
  for (const Running& one : running_) {
    ::kill(-one.pid, SIGKILL);
    ::waitpid(one.pid, nullptr, 0);
  }
}

void AlertCommands::start(std::string_view command, std::vector<std::string> variables,
                          Clock::time_point now) {
  std::vector<std::string> words = words_of(command);
  if (words.empty()) return;
  add_harmless_variables(variables);
  const std::vector<char*> argv = pointers_to(words);
  const std::vector<char*> environment = pointers_to(variables);
  running_.reserve(running_.size() + 1);
  const SpawnOptions options;
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, argv.front(), options.files(), options.attributes(), argv.data(),
                                   environment.data());
  if (error != 0) return log_failure(fmt::format("{}: {}", words.front(), std::strerror(error)));
  running_.push_back({pid, now + kMaxDuration});
}

void AlertCommands::look(Clock::time_point now) {
  std::erase_if(running_, [now](Running& one) {
    int status = 0;
    const pid_t ended = ::waitpid(one.pid, &status, WNOHANG);
    if (ended == 0) {
      if (now < one.until || one.is_killed) return false;
      one.is_killed = true;
      ::kill(-one.pid, SIGKILL);
      log_failure(fmt::format("it has run for {} s and was killed", kMaxDuration.count()));
      return false;
    }
    if (ended == one.pid && !one.is_killed) log_end(status);
    return true;
  });
}

}  // namespace bailian
