#include "base/access_record.h"

namespace bailian {
namespace {

void add_upstream_fields(LogFields& fields, const AccessRecord& record) {
  if (record.target > 0) fields.emplace_back("target", static_cast<double>(record.target));
  if (record.usage) {
    fields.emplace_back("input_tokens", static_cast<double>(record.usage->input_tokens));
    fields.emplace_back("output_tokens", static_cast<double>(record.usage->output_tokens));
  }
  const auto add = [&fields](std::string_view key, std::string_view text) {
    if (!text.empty()) fields.emplace_back(key, text);
  };
  add("cache", record.cache);
  add("idempotent", record.idempotent);
  add("model", record.model);
  add("upstream_code", record.upstream_code);
  add("upstream_request_id", record.upstream_request_id);
  add("detail", record.detail);
}

LogLevel level_of(const AccessRecord& record) {
  if (record.outcome == Outcome::kError || record.outcome == Outcome::kTimeout) return LogLevel::kWarning;
  return is_for_operator(record.endpoint) ? LogLevel::kDebug : LogLevel::kInfo;
}

}  // namespace

LogFields request_fields(const AccessRecord& record, Clock::time_point now) {
  LogFields fields = {{"request_id", record.request_id}, {"method", record.method}, {"path", record.path}};
  if (!record.bot.empty()) fields.emplace_back("bot", record.bot);
  fields.emplace_back("status", double(record.status));
  fields.emplace_back("outcome", name_of(record.outcome));
  fields.emplace_back("bytes", static_cast<double>(record.sent_bytes));
  if (record.first_token)
    fields.emplace_back("ttft_ms", Milliseconds(*record.first_token - record.started).count());
  fields.emplace_back("duration_ms", Milliseconds(now - record.started).count());
  add_upstream_fields(fields, record);
  return fields;
}

void log_request(const AccessRecord& record, Clock::time_point now) noexcept try {
  log(level_of(record), "request", "", request_fields(record, now));
} catch (const std::exception&) {  // out of memory
  count_lost_line();
}

}  // namespace bailian
