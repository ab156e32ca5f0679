#include "base/log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>

#include "base/json.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace bailian {
namespace {

// Each waiting line takes about 400 bytes of the queue, which is allocated at once.
constexpr size_t kQueuedLines = 1024;

constexpr std::chrono::seconds kLastLines{2};

// The level is looked at before a line is made: spdlog writes whatever it is given.
constexpr auto kPassed = spdlog::level::critical;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  constexpr std::array kLevels = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                  spdlog::level::err};
  return kLevels.at(static_cast<size_t>(level));
}

constexpr size_t kMaxBatchBytes = 8192;

thread_local LogBatch* batch_of_thread = nullptr;

std::atomic<uint64_t> lost_writes{0};

class Sink;

struct Log {
  std::shared_ptr<spdlog::logger> logger;  // spdlog shares its loggers by design
  std::shared_ptr<Sink> sink;
  LogFormat format = LogFormat::kText;
};

Log& the_log() {
  static Log log;
  return log;
}

bool is_whole(double number) { return std::floor(number) == number && std::abs(number) < 1e15; }

std::string number_text(double number) {
  return is_whole(number) ? fmt::format("{:.0f}", number) : fmt::format("{:.3f}", number);
}

// Control characters could forge lines or move a terminal's cursor. A backslash goes before the characters of
// `others`.
std::string escape_controls(std::string_view text, std::string_view others = "") {
  std::string out;
  while (!text.empty()) {
    const size_t control = control_character_bytes(text);
    for (const char byte : text.substr(0, control)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    if (control == 0) {
      if (others.find(text.front()) != std::string_view::npos) out += '\\';
      out += text.front();
    }
    text.remove_prefix(std::max(control, size_t{1}));
  }
  return out;
}

// JSON must escape C0 only, but a terminal heeds more. All of these lie in the Basic Multilingual Plane.
std::string escape_controls_of_json(std::string_view json) {
  std::string out;
  while (!json.empty()) {
    const size_t control = control_character_bytes(json);
    if (control == 0) {
      out += json.front();
    } else {
      const auto byte = [json](size_t i) {
        return static_cast<unsigned>(static_cast<unsigned char>(json[i]));
      };
      const unsigned character = control == 1 ? byte(0)
                                 : control == 2
                                     ? (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f)
                                     : (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
      out += fmt::format("\\u{:04x}", character);
    }
    json.remove_prefix(std::max(control, size_t{1}));
  }
  return out;
}

std::string as_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string out;
  for (const char byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    out += c >= 0x20 && c < 0x7f ? std::string(1, byte) : fmt::format("\\x{:02x}", c);
  }
  return out;
}

std::string quoted_if_needed(std::string_view text) {
  if (!text.empty() && text.find_first_of(" \"=\\") == std::string_view::npos) return escape_controls(text);
  return fmt::format("\"{}\"", escape_controls(text, "\"\\"));
}

// A pipe that nobody reads can't be opened without blocking; once open, the log's thread may wait for it.
UniqueFd open_log_file(const std::string& path) {
  constexpr mode_t kMode = 0640;
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, kMode));
  if (fd) ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  return fd;
}

/// Writes to a file by its name, or to stderr when it has none. All but reopen_soon() runs on the log's
/// thread.
class Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  Sink(std::string path, LogFormat format) : path_(std::move(path)), format_(format) {
    if (path_.empty()) return;
    file_ = open_log_file(path_);
    if (!file_) {
      const std::string why = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
      throw LogFileError(fmt::format("cannot open the log file {}: {}", path_, why));
    }
  }

  [[nodiscard]] bool is_file() const { return !path_.empty(); }
  /// Before the next line, which may be empty.
  void reopen_soon() { reopen_ = true; }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (reopen_.exchange(false)) reopen();
    if (message.payload.size() > 0) write({message.payload.data(), message.payload.size()});
  }
  void flush_() override {}

  void reopen() {
    UniqueFd fd = open_log_file(path_);
    if (!fd) {
      const std::string why = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
      return tell(LogLevel::kError, "log_reopen_failed", why);
    }
    file_ = std::move(fd);
    torn_ = false;
    tell(LogLevel::kInfo, "log_reopened", "");
  }

  void tell(LogLevel level, std::string_view event, std::string_view message) {
    write(format_log_line(format_, now_rfc3339(), level, event, message, {{"file", path_}}));
  }

  // What a full disk has cut short must not be joined to the next line.
  void write(std::string_view lines) {
    std::string text = torn_ ? "\n" : "";
    text.append(lines).append("\n");
    const int fd = is_file() ? file_.get() : STDERR_FILENO;
    size_t written = 0;
    while (written < text.size()) {
      const ssize_t now = ::write(fd, text.data() + written, text.size() - written);
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) {
        ++lost_writes;
        break;
      }
      written += static_cast<size_t>(now);
    }
    if (written > 0) torn_ = text[written - 1] != '\n';
  }

  const std::string path_;
  const LogFormat format_;
  UniqueFd file_;
  bool torn_ = false;  // the last line in the file has no end
  std::atomic<bool> reopen_{false};
};

}  // namespace

std::string_view name_of(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
  return kNames.at(static_cast<size_t>(level));
}

std::string now_rfc3339() {
  const auto now = std::chrono::system_clock::now();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), ms);
}

std::string format_log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view event,
                            std::string_view message, const LogFields& fields) {
  if (format == LogFormat::kText) {
    std::string line = fmt::format("{} {:7} {}", time, name_of(level), event);
    if (!message.empty()) line += ": " + escape_controls(as_utf8(message));
    for (const LogField& field : fields) {
      line +=
          fmt::format(" {}={}", field.key,
                      field.is_number ? number_text(field.number) : quoted_if_needed(as_utf8(field.text)));
    }
    return line;
  }
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "time", time);
  write_member(writer, "level", name_of(level));
  write_member(writer, "event", event);
  if (!message.empty()) write_member(writer, "message", as_utf8(message));
  for (const LogField& field : fields) {
    if (!field.is_number) {
      write_member(writer, field.key, as_utf8(field.text));
      continue;
    }
    writer.Key(field.key.data(), static_cast<rapidjson::SizeType>(field.key.size()));
    const std::string number = number_text(field.number);
    writer.RawValue(number.data(), number.size(), rapidjson::kNumberType);
  }
  writer.EndObject();
  constexpr std::string_view kLeads = "\x7f\xc2\xd8\xe2";  // of the characters in question
  const std::string_view line = written(buffer);
  return line.find_first_of(kLeads) == line.npos ? std::string(line) : escape_controls_of_json(line);
}

void start_log(LogFormat format, LogLevel least, const std::string& file) {
  auto sink = std::make_shared<Sink>(file, format);
  // Signals are for the loops: this thread may be stuck in a write.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  spdlog::init_thread_pool(kQueuedLines, 1);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  auto logger = std::make_shared<spdlog::async_logger>("bailian", sink, spdlog::thread_pool(),
                                                       spdlog::async_overflow_policy::overrun_oldest);
  logger->set_error_handler([](const std::string&) { ++lost_writes; });
  logger->set_pattern("%v");
  the_log() = Log{std::move(logger), std::move(sink), format};
  set_log_level(least);
}

void set_log_level(LogLevel least) { the_log().logger->set_level(to_spdlog(least)); }

void reopen_log() {
  const Log& log = the_log();
  if (!log.sink || !log.sink->is_file()) return;
  log.sink->reopen_soon();
  log.logger->log(kPassed, "");
}

void stop_log(int exit_code) {
  if (!the_log().logger) return;
  // Whoever reads our stderr may have stopped; the last lines are not worth a process that never ends.
  // Without memory for the thread the wait has no end.
  try {
    std::thread([exit_code] {
      std::this_thread::sleep_for(kLastLines);
      ::_exit(exit_code);
    }).detach();
  } catch (const std::exception&) {
  }
  the_log() = {};
  spdlog::shutdown();
}

void count_lost_line() noexcept { ++lost_writes; }

uint64_t lost_log_writes() {
  const auto pool = spdlog::thread_pool();
  return lost_writes + (pool ? pool->overrun_counter() : 0);
}

LogBatch::LogBatch() { batch_of_thread = this; }

LogBatch::~LogBatch() {
  flush();
  batch_of_thread = nullptr;
}

void LogBatch::add(std::string line) {
  if (lines_.empty()) {
    lines_ = std::move(line);
  } else {
    lines_.append("\n").append(line);
  }
  if (lines_.size() >= kMaxBatchBytes) flush();
}

void LogBatch::flush() noexcept try {
  if (lines_.empty()) return;
  if (const auto& logger = the_log().logger) logger->log(kPassed, spdlog::string_view_t(lines_));
  lines_.clear();
} catch (const std::exception&) {
  ++lost_writes;
  lines_.clear();
}

void log(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) noexcept
    try {
  const Log& log = the_log();
  if (!log.logger || !log.logger->should_log(to_spdlog(level))) return;
  std::string line = format_log_line(log.format, now_rfc3339(), level, event, message, fields);
  if (batch_of_thread != nullptr) {
    batch_of_thread->add(std::move(line));
  } else {
    log.logger->log(kPassed, spdlog::string_view_t(line));
  }
} catch (const std::exception&) {
  ++lost_writes;
}

}  // namespace bailian
