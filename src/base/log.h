#pragma once

#include <sysexits.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/exit_error.h"
#include "base/log_line.h"

namespace bailian {

/// A log file that cannot be opened; what() names it.
class LogFileError : public ExitError {
 public:
  explicit LogFileError(const std::string& what) : ExitError(EX_CANTCREAT, what) {}
};

/// Starts logging to `file`, or to stderr if it is empty. A thread writes the lines, so that a blocked pipe
/// or a full disk delays no request; if it falls too far behind, the oldest lines are lost. Call it once,
/// before other threads log. Throws LogFileError and std::system_error.
void start_log(LogFormat format, LogLevel least, const std::string& file = {});

/// Reopens the log file by name, after a rotation has renamed it. If that fails, the lines go to the
/// old file. Any thread.
void reopen_log() noexcept;

/// Any thread.
void set_log_level(LogLevel least) noexcept;

/// Writes the waiting lines and ends the thread. If they are not read, the process ends after 2 s with this
/// exit code.
void stop_log(int exit_code) noexcept;

/// How often lines were lost, because the thread fell too far behind, a write failed, or there was no memory.
/// Each loss may be of several lines. Any thread.
uint64_t lost_log_writes() noexcept;

/// Counts a line that could not be built for lack of memory.
void count_lost_line() noexcept;

/// While it lives, the lines of its thread wait for flush(): waking the writing thread costs half as much as
/// a request.
class LogBatch {
 public:
  LogBatch();
  ~LogBatch();
  LogBatch(const LogBatch&) = delete;
  LogBatch& operator=(const LogBatch&) = delete;

  void flush() noexcept;
  /// For log(): adds a whole line, with its end.
  void add(std::string&& line);

 private:
  std::string lines_;
};

/// Logs one line: a word for the event, a sentence for humans, and the fields. If memory is exhausted, the
/// line is lost. Any thread.
void log(LogLevel level, std::string_view event, std::string_view message,
         const LogFields& fields = {}) noexcept;

}  // namespace bailian
