#pragma once

#include <sysexits.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/exit_error.h"

namespace bailian {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };
std::string_view name_of(LogLevel level);

/// A member of a log line: a word and its value. Values may be hostile; they are escaped.
struct LogField {
  LogField(std::string_view name, std::string_view value) : key(name), text(value) {}
  LogField(std::string_view name, double value) : key(name), number(value), is_number(true) {}

  std::string_view key;
  std::string text;
  double number = 0;
  bool is_number = false;
};
using LogFields = std::vector<LogField>;

/// A log file that cannot be opened; what() names it.
class LogFileError : public ExitError {
 public:
  explicit LogFileError(const std::string& what) : ExitError(EX_CANTCREAT, what) {}
};

/// Starts logging to `file`, or to stderr when it is empty. Lines are written by a thread of their own, so
/// that a blocked pipe or a full disk holds up nobody; when it falls too far behind, the oldest lines are
/// lost. Any thread may log after this. Throws LogFileError.
void start_log(LogFormat format, LogLevel least, const std::string& file = {});

/// Has the log file opened anew by its name, which a rotation has given to another. When that fails, the
/// lines go on into the old one.
void reopen_log();

/// Any thread.
void set_log_level(LogLevel least);

/// Writes out what is waiting and ends the thread. When nobody takes the lines, the process ends after 2 s
/// with this exit code.
void stop_log(int exit_code);

/// How often something was lost: the writing thread fell too far behind, a write failed, or there was no
/// memory. Each time may be a few lines.
uint64_t lost_log_writes();

/// Counts a line that could not be made for want of memory.
void count_lost_line() noexcept;

/// While one lives, the lines of its thread wait for flush() or for its end: waking the writing thread costs
/// as much as half a request.
class LogBatch {
 public:
  LogBatch();
  ~LogBatch();
  LogBatch(const LogBatch&) = delete;
  LogBatch& operator=(const LogBatch&) = delete;

  void flush() noexcept;

 private:
  friend void log(LogLevel, std::string_view, std::string_view, const LogFields&) noexcept;
  void add(std::string line);

  std::string lines_;
};

/// One line: a word for what happened, a sentence for people, and the fields. Without memory for it the line
/// is lost.
void log(LogLevel level, std::string_view event, std::string_view message,
         const LogFields& fields = {}) noexcept;

/// The wall clock as RFC 3339 has it.
std::string now_rfc3339();

/// The text of one line, without its end. `time` is RFC 3339.
std::string format_log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view event,
                            std::string_view message, const LogFields& fields);

}  // namespace bailian
