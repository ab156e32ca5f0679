#pragma once

#include <sys/types.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

namespace bailian {

/// Why a value is refused.
struct ValueFault {
  std::string expected;  // replaces the setting's own description, unless empty
  std::string sentence;  // the whole message; empty: "expected ..., found ..."
};

inline ValueFault not_expected(std::string expected = {}) { return {std::move(expected), {}}; }
inline ValueFault refused(std::string sentence) { return {{}, std::move(sentence)}; }

/// What a parser returns.
template <typename Value>
using Parsed = std::variant<Value, ValueFault>;

template <typename Value>
const ValueFault* fault_in(const Parsed<Value>& parsed) {
  return std::get_if<ValueFault>(&parsed);
}

/// Which answers are cached: ANSWER_CACHE.
enum class AnswerCaching {
  kOff,
  kButtons,   // of the questions that the profile's buttons ask
  kFirstTurn  // of every first question without anything of the visitor's own
};

// Parsers of single settings. Each returns a value, or why the text is not valid.

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <typename Number, Number min, Number max>
Parsed<Number> parse_whole(const std::string& text) {
  const auto number = parse_number<Number>(text);
  if (!number || *number < min || *number > max) return not_expected();
  return *number;
}

Parsed<Seconds> parse_timeout(const std::string& text);             // 0.001 to 86400
Parsed<Seconds> parse_seconds(const std::string& text);             // 0 to 86400
Parsed<Milliseconds> parse_coalesce_time(const std::string& text);  // 0 to 100
Parsed<bool> parse_bool(const std::string& text);
Parsed<bool> parse_on_off(const std::string& text);
Parsed<bool> parse_moderation(const std::string& text);
Parsed<AnswerCaching> parse_answer_cache(const std::string& text);
Parsed<std::string> parse_utf8(const std::string& text);
Parsed<std::string> parse_visible_ascii(const std::string& text);
/// A key or an id. A placeholder counts as not set: the value is empty.
Parsed<std::string> parse_id(const std::string& text);
Parsed<std::string> parse_base_url(const std::string& url);
/// A JSON object, written compactly.
Parsed<std::string> parse_json_object(const std::string& text);
Parsed<std::vector<std::string>> parse_param_names(const std::string& text);
Parsed<std::string> parse_temperature(const std::string& text);
Parsed<mode_t> parse_mode(const std::string& text);
Parsed<std::vector<std::string>> parse_origins(const std::string& text);
Parsed<std::optional<LogFormat>> parse_log_format(const std::string& text);
Parsed<std::optional<LogLevel>> parse_log_level(const std::string& text);
Parsed<std::string> parse_log_file(const std::string& text);
/// A path with a slash, or the URL of a Redis server; or empty.
Parsed<std::string> parse_ledger(const std::string& text);
/// Tokens; or empty: no cap.
Parsed<std::optional<uint64_t>> parse_cap(const std::string& text);
/// A name of the system's tz database.
Parsed<std::string> parse_time_zone(const std::string& text);
Parsed<uint64_t> parse_slice(const std::string& text);  // 64 to 1000000; empty: 0
Parsed<double> parse_price(const std::string& text);    // 0 to 1000000; empty: 0
Parsed<bool> parse_on_abort(const std::string& text);   // worst
Parsed<bool> parse_on_fault(const std::string& text);   // open

/// Whether the value is in quotes, which the reader of the file should have removed.
bool is_quoted(std::string_view text);
inline constexpr std::string_view kQuotesStay =
    "the quotes are part of the value, as docker --env-file and Kubernetes keep them: remove them";

}  // namespace bailian
