#include "base/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "base/unique_fd.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kLastLines{2};
constexpr size_t kMaxBatchBytes = 8192;

thread_local LogBatch* batch_of_thread = nullptr;

std::atomic<uint64_t> lost_writes{0};

// A FIFO without a reader cannot be opened without blocking; once open, the log's thread may block on it.
UniqueFd open_log_file(const std::string& path) noexcept {
  constexpr mode_t kMode = 0640;
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, kMode));
  if (fd) ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  return fd;
}

std::string_view error_text() noexcept { return std::strerror(errno); }  // NOLINT(concurrency-mt-unsafe)

/// The lines that wait in a ring of slots, and the thread that writes them. Adding lines allocates nothing.
class Log {
 public:
  void start(LogFormat format, LogLevel least, const std::string& path) {
    assert(!thread_.joinable());
    if (!path.empty()) file_ = open_log_file(path);
    if (!path.empty() && !file_)
      throw LogFileError(fmt::format("cannot open the log file {}: {}", path, error_text()));
    path_ = path;
    path_field_ = {{"file", path_}};
    format_ = format;
    least_ = least;
    thread_ = std::thread([this] { run(); });
    is_started_ = true;
  }

  void stop(int exit_code) noexcept {
    if (!is_started_.exchange(false)) return;
    std::unique_lock lock(mutex_);
    ends_ = true;
    changed_.notify_all();
    // The reader of our stderr may have stopped reading.
    if (!changed_.wait_for(lock, kLastLines, [this] { return has_ended_; })) ::_exit(exit_code);
    lock.unlock();
    thread_.join();
  }

  void set_level(LogLevel least) noexcept { least_ = least; }
  [[nodiscard]] bool logs(LogLevel level) const noexcept { return is_started_ && level >= least_; }
  void request_reopen() noexcept {
    if (!is_started_ || path_.empty()) return;
    reopens_ = true;
    push({});
  }

  void push(std::string&& lines) noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == slots_.size()) {
      pop();
      ++lost_writes;
    }
    slots_.at((first_ + count_++) % slots_.size()) = std::move(lines);
    changed_.notify_all();
  }

  void add_line(LogLevel level, std::string_view event, std::string_view message,
                const LogFields& fields) noexcept {
    try {
      std::string line = format_log_line(format_, now_rfc3339(), level, event, message, fields);
      line += '\n';
      batch_of_thread != nullptr ? batch_of_thread->add(std::move(line)) : push(std::move(line));
    } catch (const std::exception&) {
      ++lost_writes;
    }
  }

 private:
  void run() noexcept {
    // Signals are for the loops: this thread may be blocked in a write.
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, [this] { return count_ > 0 || ends_; }), count_ > 0) {
      const std::string lines = pop();
      lock.unlock();
      if (reopens_.exchange(false)) reopen();
      write(lines);
      lock.lock();
    }
    has_ended_ = true;
    changed_.notify_all();
  }

  std::string pop() noexcept {
    --count_;
    return std::move(slots_.at(std::exchange(first_, (first_ + 1) % slots_.size())));
  }

  void reopen() noexcept {
    UniqueFd fd = open_log_file(path_);
    if (!fd) return add_line(LogLevel::kError, "log_reopen_failed", error_text(), path_field_);
    file_ = std::move(fd);
    is_torn_ = false;
    add_line(LogLevel::kInfo, "log_reopened", "", path_field_);
  }

  void write(std::string_view bytes) noexcept {
    // A line that a full disk has cut short must not be joined to the next one.
    if (is_torn_ && !bytes.empty() && !bytes.starts_with('\n')) {
      write("\n");
      if (is_torn_) return;
    }
    const int fd = path_.empty() ? STDERR_FILENO : file_.get();
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) {
        ++lost_writes;
        return;
      }
      is_torn_ = bytes[static_cast<size_t>(written) - 1] != '\n';
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }

  // Constant once the log is started.
  std::string path_;      // empty: stderr
  LogFields path_field_;  // for lines about the file, in case there is no memory
  LogFormat format_ = LogFormat::kText;

  std::atomic<bool> is_started_{false};
  std::atomic<LogLevel> least_{LogLevel::kInfo};
  std::atomic<bool> reopens_{false};  // before the next lines, which may be empty

  std::mutex mutex_;  // guards the members below, up to has_ended_
  std::condition_variable changed_;
  std::array<std::string, 1024> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
  bool ends_ = false;
  bool has_ended_ = false;

  // The writing thread's.
  UniqueFd file_;
  bool is_torn_ = false;  // the last line in the file has no end
  std::thread thread_;
};

Log& the_log() noexcept {
  static Log log;
  return log;
}

}  // namespace

void start_log(LogFormat format, LogLevel least, const std::string& file) {
  the_log().start(format, least, file);
}

void stop_log(int exit_code) noexcept { the_log().stop(exit_code); }

void set_log_level(LogLevel least) noexcept { the_log().set_level(least); }

void reopen_log() noexcept { the_log().request_reopen(); }

uint64_t lost_log_writes() noexcept { return lost_writes; }

void count_lost_line() noexcept { ++lost_writes; }

LogBatch::LogBatch() {
  assert(batch_of_thread == nullptr);
  batch_of_thread = this;
}

LogBatch::~LogBatch() {
  flush();
  batch_of_thread = nullptr;
}

void LogBatch::add(std::string&& line) {
  lines_.empty() ? lines_ = std::move(line) : lines_ += line;
  if (lines_.size() >= kMaxBatchBytes) flush();
}

void LogBatch::flush() noexcept {
  if (!lines_.empty()) the_log().push(std::exchange(lines_, {}));
}

void log(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) noexcept {
  if (the_log().logs(level)) the_log().add_line(level, event, message, fields);
}

}  // namespace bailian
