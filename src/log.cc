#include "log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <csignal>
#include <memory>
#include <thread>

#include "json.h"

namespace bailian {
namespace {

// Each waiting line takes about 400 bytes of the queue, which is allocated at once.
constexpr size_t kQueuedLines = 1024;

constexpr std::chrono::seconds kLastLines{2};

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};
constexpr std::array<std::string_view, 4> kOutcomeNames = {"done", "error", "client_gone", "timeout"};

template <typename Enum, size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, Enum value) {
  return names.at(static_cast<size_t>(value));
}

constexpr size_t kMaxBatchBytes = 8192;

thread_local LogBatch* batch_of_thread = nullptr;

struct Log {
  std::shared_ptr<spdlog::logger> logger;  // spdlog shares its loggers by design
  LogFormat format = LogFormat::kText;
};

Log& the_log() {
  static Log log;
  return log;
}

std::string now_rfc3339() {
  const auto now = std::chrono::system_clock::now();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), ms);
}

bool is_whole(double number) { return std::floor(number) == number && std::abs(number) < 1e15; }

std::string number_text(double number) {
  return is_whole(number) ? fmt::format("{:.0f}", number) : fmt::format("{:.3f}", number);
}

// Control characters could forge lines or move a terminal's cursor; C1 controls come as two bytes of UTF-8.
// A backslash goes before the characters of `others`.
std::string escape_controls(std::string_view text, std::string_view others = "") {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c < 0x20 || c == 0x7f || c1) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      if (others.find(text[i]) != std::string_view::npos) out += '\\';
      out += text[i];
    }
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

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

std::string format_log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view event,
                            std::string_view message, const LogFields& fields) {
  if (format == LogFormat::kText) {
    std::string line = fmt::format("{} {:7} {}", time, name_of(kLevelNames, level), event);
    if (!message.empty()) line += ": " + escape_controls(message);
    for (const LogField& field : fields) {
      line += fmt::format(" {}={}", field.key,
                          field.is_number ? number_text(field.number) : quoted_if_needed(field.text));
    }
    return line;
  }
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "time", time);
  write_member(writer, "level", name_of(kLevelNames, level));
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
  return std::string(written(buffer));
}

LogFields request_fields(const RequestRecord& record, Clock::time_point now) {
  LogFields fields = {{"request_id", record.request_id},
                      {"method", record.method},
                      {"path", record.path},
                      {"status", double(record.status)},
                      {"outcome", name_of(kOutcomeNames, record.outcome)},
                      {"bytes", static_cast<double>(record.sent_bytes)}};
  if (record.first_token) fields.emplace_back("ttft_ms", ms_between(record.started, *record.first_token));
  fields.emplace_back("duration_ms", ms_between(record.started, now));
  if (record.usage) {
    fields.emplace_back("input_tokens", static_cast<double>(record.usage->input_tokens));
    fields.emplace_back("output_tokens", static_cast<double>(record.usage->output_tokens));
  }
  const auto add = [&fields](std::string_view key, const std::string& text) {
    if (!text.empty()) fields.emplace_back(key, text);
  };
  add("model", record.model);
  add("upstream_code", record.upstream_code);
  add("upstream_request_id", record.upstream_request_id);
  add("detail", record.detail);
  return fields;
}

void start_log(LogFormat format, LogLevel least) {
  // Signals are for the loops: this thread may be stuck in a write.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  spdlog::init_thread_pool(kQueuedLines, 1);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // A sink that fails (a full disk, a closed pipe) must not fill the pipe with its own complaints.
  auto logger = std::make_shared<spdlog::async_logger>(
      "bailian", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_error_handler([](const std::string&) {});
  logger->set_pattern("%v");
  the_log() = Log{std::move(logger), format};
  set_log_level(least);
}

void set_log_level(LogLevel least) {
  the_log().logger->set_level(least == LogLevel::kDebug ? spdlog::level::debug : spdlog::level::info);
}

void stop_log() {
  if (!the_log().logger) return;
  // Whoever reads our stderr may have stopped; the last lines are not worth a process that never ends.
  // Without memory for the thread the wait has no end.
  try {
    std::thread([] {
      std::this_thread::sleep_for(kLastLines);
      ::_exit(0);
    }).detach();
  } catch (const std::exception&) {
  }
  the_log().logger.reset();
  spdlog::shutdown();
}

uint64_t lost_log_writes() {
  const auto pool = spdlog::thread_pool();
  return pool ? pool->overrun_counter() : 0;
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
  if (const auto& logger = the_log().logger) logger->info(spdlog::string_view_t(lines_));
  lines_.clear();
} catch (const std::exception&) {
  lines_.clear();
}

void log(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) noexcept
    try {
  constexpr std::array kLevels = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                  spdlog::level::err};
  const Log& log = the_log();
  const auto spdlog_level = kLevels.at(static_cast<size_t>(level));
  if (!log.logger || !log.logger->should_log(spdlog_level)) return;
  std::string line = format_log_line(log.format, now_rfc3339(), level, event, message, fields);
  if (batch_of_thread != nullptr) {
    batch_of_thread->add(std::move(line));
  } else {
    log.logger->log(spdlog_level, spdlog::string_view_t(line));
  }
} catch (const std::exception&) {
  return;
}

void log_request(const RequestRecord& record, Clock::time_point now) noexcept try {
  log(record.outcome == Outcome::kError || record.outcome == Outcome::kTimeout ? LogLevel::kWarning
                                                                               : LogLevel::kInfo,
      "request", "", request_fields(record, now));
} catch (const std::exception&) {
  return;
}

}  // namespace bailian
