#pragma once

#include <string>
#include <string_view>
#include <vector>

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

/// The wall clock in the format of RFC 3339.
std::string now_rfc3339();

/// The text of one line, without a line end. `time` is in the format of RFC 3339.
std::string format_log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view event,
                            std::string_view message, const LogFields& fields);

}  // namespace bailian
