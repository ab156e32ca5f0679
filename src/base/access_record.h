#pragma once

#include <array>
#include <cstddef>
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

/// How a request ended. kTimeout: the upstream was too slow.
enum class Outcome { kDone, kError, kClientGone, kTimeout };

struct OutcomeRow {
  Outcome value;
  std::string_view name;  // in the log and the metrics
};
inline constexpr std::array kOutcomes = {
    OutcomeRow{Outcome::kDone, "done"},
    OutcomeRow{Outcome::kError, "error"},
    OutcomeRow{Outcome::kClientGone, "client_gone"},
    OutcomeRow{Outcome::kTimeout, "timeout"},
};

/// The purpose of a request. A new one needs a row in kEndpoints and a route in chat/router.cc.
enum class Endpoint {
  kUnknown,  // no route has the path
  kHealth,
  kReady,
  kBotProfile,
  kChat,
  kChatStream,
  kMetrics,
  kPing,
  kStatus,
  kCount  // not an endpoint
};

struct EndpointRow {
  Endpoint value;
  std::string_view name;         // in the metrics
  bool is_for_operator = false;  // polled by monitoring, not called by browsers
};
inline constexpr std::array kEndpoints = {
    EndpointRow{Endpoint::kUnknown, "other"},
    EndpointRow{Endpoint::kHealth, "health"},
    EndpointRow{Endpoint::kReady, "ready"},
    EndpointRow{Endpoint::kBotProfile, "config"},
    EndpointRow{Endpoint::kChat, "chat"},
    EndpointRow{Endpoint::kChatStream, "stream"},
    EndpointRow{Endpoint::kMetrics, "metrics", true},
    EndpointRow{Endpoint::kPing, "ping", true},
    EndpointRow{Endpoint::kStatus, "status", true},
};

/// Whether row i of a table is that of the enum's value i, for every value below `count`.
constexpr bool has_a_row_for_each(const auto& rows, size_t count) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<size_t>(rows[i].value) != i) return false;
  }
  return rows.size() == count;
}
static_assert(has_a_row_for_each(kOutcomes, static_cast<size_t>(Outcome::kTimeout) + 1));
static_assert(has_a_row_for_each(kEndpoints, static_cast<size_t>(Endpoint::kCount)));

constexpr std::string_view name_of(Outcome outcome) {
  return kOutcomes.at(static_cast<size_t>(outcome)).name;
}
constexpr bool is_for_operator(Endpoint endpoint) {
  return kEndpoints.at(static_cast<size_t>(endpoint)).is_for_operator;
}

/// The data of one request for the log line and the metrics. Never the prompt, the answer or a key.
struct AccessRecord {
  Clock::time_point started;
  std::string request_id;
  std::string method;
  std::string path;
  Endpoint endpoint = Endpoint::kUnknown;
  std::string bot;  // empty: the request was not for a bot
  int status = 0;   // 0: nothing was sent
  Outcome outcome = Outcome::kDone;
  bool is_chat = false;      // the upstream was asked
  bool is_complete = false;  // and its answer arrived to the end
  bool has_stalled = false;  // the browser read nothing for too long
  std::optional<Clock::time_point> first_token;
  std::optional<Usage> usage;
  bool counts_usage = true;     // false: the answer is shared, and its tokens are counted once
  std::string_view cache;       // hit, joined or miss; empty: not a question to cache
  std::string_view idempotent;  // replayed or joined; empty: not a question that was repeated
  int retries = 0;
  int target = 0;  // the number of the one asked last; 0: there is only one
  std::string model;
  std::string upstream_code;
  std::string upstream_request_id;
  std::string detail;
  // More than this is logged as slow; 0: no limit.
  Seconds slow_first_token{};
  Seconds slow_answer{};
  uint64_t sent_bytes = 0;
};

/// Logs the line that every request gets at its end. When memory is exhausted, the line is counted as lost.
void log_request(const AccessRecord& record, Clock::time_point now) noexcept;

/// The fields of that line.
LogFields request_fields(const AccessRecord& record, Clock::time_point now);

}  // namespace bailian
