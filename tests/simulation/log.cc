// Replaces base/log.cc: log lines go to the record of the schedule.

#include "base/log.h"

#include <charconv>

#include "simulation/record.h"
#include "simulation/world.h"

namespace bailian {
namespace {

using namespace simulation;

constexpr size_t kMaxLoggedPathBytes = 256;

uint64_t lost_lines = 0;

void note_request(const LogFields& fields) {
  Question::Line line;
  line.at = world->now();
  int number = -1;
  Usage usage;
  bool has_usage = false;
  for (const LogField& field : fields) {
    if (field.key == "request_id" && field.text.starts_with('q'))
      std::from_chars(field.text.data() + 1, field.text.data() + field.text.size(), number);
    if (field.key == "path" && field.text.size() > kMaxLoggedPathBytes)
      violated("logs a path that is too long");
    if (field.key == "outcome") line.outcome = field.text;
    if (field.key == "upstream_code") line.upstream_code = field.text;
    if (field.key == "status") line.status = static_cast<int>(field.number);
    if (field.key == "bytes") line.bytes = static_cast<uint64_t>(field.number);
    if (field.key == "input_tokens") usage.input_tokens = static_cast<uint64_t>(field.number);
    if (field.key == "output_tokens") usage.output_tokens = static_cast<uint64_t>(field.number);
    has_usage = has_usage || field.key == "output_tokens";
  }
  if (has_usage) line.usage = usage;
  if (number < 0 || static_cast<size_t>(number) >= record->questions().size())
    violated("logs a request that no visitor has made");
  record->questions()[static_cast<size_t>(number)].lines.push_back(std::move(line));
}

}  // namespace

LogBatch::LogBatch() = default;
LogBatch::~LogBatch() = default;
void LogBatch::flush() noexcept {}
uint64_t lost_log_writes() noexcept { return lost_lines; }
void count_lost_line() noexcept { ++lost_lines; }
void stop_log(int) noexcept {}

void log(LogLevel, std::string_view event, std::string_view message, const LogFields& fields) noexcept {
  const OutsideProduct outside;
  for (const LogField& field : fields) {
    if (field.text.find(kApiKey) != std::string::npos) violated("logs the key");
  }
  if (message.find(kApiKey) != message.npos) violated("logs the key");
  if (event == "request") note_request(fields);
  world->trace("log: {} {}", event, message);
}

}  // namespace bailian
