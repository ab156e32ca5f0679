#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace bailian::simulator {

// What stays the same in every event of one answer.
struct Identity {
  std::string session_id;  // 32 hex digits, or what the caller sent
  std::string request_id;  // a UUID
  std::size_t input_tokens = 0;
};

// One `data:` of a success, with members in the order of the captures. Empty ones are left out.
struct Output {
  std::string_view thoughts;          // a JSON array
  std::string_view workflow_message;  // a JSON object
  std::string_view finish_reason;     // a JSON value
  std::optional<std::string_view> text;
  std::string_view doc_references;           // a JSON array
  std::optional<std::size_t> output_tokens;  // without: "usage":{}
};

void append_json_string(std::string_view text, std::string& out);
std::string json_string(std::string_view text);

// `id:`, `event:`, `:HTTP_STATUS/` and `data:` without a space: contract.md §3.1.
void append_result_event(std::size_t id, const Identity& identity, const Output& output, std::string& out);
std::string error_event(std::size_t id, int status, std::string_view error_json);

// The body without SSE: contract.md §2, where the members are in another order.
std::string answer_json(const Identity& identity, const Output& output);
std::string error_json(std::string_view code, std::string_view message, std::string_view request_id);

}  // namespace bailian::simulator
