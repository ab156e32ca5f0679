#include "telemetry/slow_log.h"

#include <fmt/format.h>

#include <exception>
#include <utility>

namespace bailian {

constexpr int kMaxLines = 10;
constexpr std::chrono::seconds kWindow{10};

SlowLog::SlowLog(EventLoop& loop)
    : limiter_(loop, kMaxLines, kWindow, [](int suppressed) {
        log(LogLevel::kWarning, "slow", fmt::format("{} more lines like this were left out", suppressed),
            {{"left_out", static_cast<double>(suppressed)}});
      }) {}

void SlowLog::note(const AccessRecord& record, Clock::time_point now) noexcept try {
  for (const LogFields& fields : slow_lines(record, now)) {
    if (limiter_.admit()) log(LogLevel::kWarning, "slow", "", fields);
  }
} catch (const std::exception&) {
  count_lost_line();
}

std::vector<LogFields> slow_lines(const AccessRecord& record, Clock::time_point now) {
  std::vector<LogFields> lines;
  const auto check = [&](std::string_view what, Seconds took, Seconds limit) {
    if (limit <= Seconds::zero() || took <= limit) return;
    LogFields fields = {{"request_id", record.request_id},
                        {"what", what},
                        {"seconds", took.count()},
                        {"threshold", limit.count()}};
    if (!record.bot.empty()) fields.emplace_back("bot", record.bot);
    if (record.usage) {
      fields.emplace_back("input_tokens", static_cast<double>(record.usage->input_tokens));
      fields.emplace_back("output_tokens", static_cast<double>(record.usage->output_tokens));
    }
    fields.emplace_back("retries", static_cast<double>(record.retries));
    fields.emplace_back("outcome", name_of(record.outcome));
    if (!record.model.empty()) fields.emplace_back("model", record.model);
    if (!record.upstream_request_id.empty())
      fields.emplace_back("upstream_request_id", record.upstream_request_id);
    lines.push_back(std::move(fields));
  };
  check("first_token", record.first_token.value_or(now) - record.started, record.slow_first_token);
  check("answer", now - record.started, record.slow_answer);
  return lines;
}

}  // namespace bailian
