#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"

namespace bailian {

/// How a chat is answered: as a stream of events or as one JSON object.
enum class AnswerMode { kStream, kJson };

struct Usage {
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
};

enum class Outcome { kDone, kError, kClientGone, kTimeout };

/// What can be asked for; kNothing is every path that there isn't.
enum class Endpoint {
  kNothing,
  kHealth,
  kReady,
  kBotProfile,
  kChat,
  kChatStream,
  kMetrics,
  kPing,
  kStatus,
  kCount  // how many there are
};

/// What only the operator's machines ask for, again and again.
constexpr bool is_for_operator(Endpoint resource) {
  return resource == Endpoint::kMetrics || resource == Endpoint::kPing || resource == Endpoint::kStatus;
}

std::string_view name_of(Outcome outcome);

/// What the log line of one request says, and what it adds to the metrics. Never the prompt, the answer or a
/// key.
struct AccessRecord {
  Clock::time_point started;
  std::string request_id;
  std::string method;
  std::string path;
  Endpoint resource = Endpoint::kNothing;
  int status = 0;  // 0: nothing was sent
  Outcome outcome = Outcome::kDone;
  uint64_t sent_bytes = 0;
  bool is_chat = false;      // the upstream was asked
  bool is_complete = false;  // and has answered to the end
  bool has_stalled = false;  // the browser took nothing for too long
  std::optional<Clock::time_point> first_token;
  std::optional<Usage> usage;
  int retries = 0;
  std::string model;
  std::string upstream_code;
  std::string upstream_request_id;
  std::string detail;
  // More than this is logged as slow; 0: no limit.
  Seconds slow_first_token{};
  Seconds slow_answer{};
};

/// The line that every request gets at its end; lost like any other.
void log_request(const AccessRecord& record, Clock::time_point now) noexcept;

/// What log_request writes.
LogFields request_fields(const AccessRecord& record, Clock::time_point now);

}  // namespace bailian
