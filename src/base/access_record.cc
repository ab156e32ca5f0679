#include "base/access_record.h"

#include <array>

namespace bailian {
namespace {

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

std::string_view name_of(Outcome outcome) {
  constexpr std::array<std::string_view, 4> kNames = {"done", "error", "client_gone", "timeout"};
  return kNames.at(static_cast<size_t>(outcome));
}

LogFields request_fields(const AccessRecord& record, Clock::time_point now) {
  LogFields fields = {{"request_id", record.request_id},
                      {"method", record.method},
                      {"path", record.path},
                      {"status", double(record.status)},
                      {"outcome", name_of(record.outcome)},
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

void log_request(const AccessRecord& record, Clock::time_point now) noexcept try {
  const bool failed = record.outcome == Outcome::kError || record.outcome == Outcome::kTimeout;
  const LogLevel level = failed                             ? LogLevel::kWarning
                         : is_for_operator(record.resource) ? LogLevel::kDebug
                                                            : LogLevel::kInfo;
  log(level, "request", "", request_fields(record, now));
} catch (const std::exception&) {
  count_lost_line();
}

}  // namespace bailian
