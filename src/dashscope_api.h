#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat_types.h"
#include "config.h"

namespace bailian {

// DashScope's JSON for `POST /apps/{APP_ID}/completion`, as its documentation, its SDKs and captures have it.

enum class AnswerMode { kStream, kJson };

/// The body of a completion request. The client-side history goes as `messages`; a session id is used only
/// alone with the prompt, because the upstream ignores it beside `messages`.
std::string completion_body(const ChatRequest& chat, const Config& config, AnswerMode mode);

/// The members of one answer object that matter here: a `data:` line of a stream or a whole JSON answer.
/// The views point into the text that was parsed.
struct AnswerFields {
  struct Reference {  // output.doc_references[]
    int index = 0;    // 0 when there is none that can be read
    std::string_view title;
    std::string_view url;
  };

  bool has_output = false;
  std::optional<std::string_view> text;           // output.text
  std::optional<std::string_view> workflow_text;  // output.workflow_message.message.content
  std::string_view workflow_node_type;
  std::string thought;  // of the model, from output.thoughts; other steps of the application are left out
  std::vector<Reference> references;
  std::string_view finish_reason;  // empty while the answer goes on
  std::string_view session_id;
  std::string_view request_id;
  std::string_view code;
  std::string_view message;
  std::string_view model;
  bool has_usage = false;
  Usage usage;  // of all models together
};

/// Parses in place, which destroys `json`. Unknown members, other types than expected and nulls are passed
/// over; half a surrogate pair becomes U+FFFD. Nothing when it is not one JSON object in valid UTF-8, at most
/// kMaxJsonDepth deep.
std::optional<AnswerFields> parse_answer_fields(std::string& json);

/// What an error body means. `http_status` is the one that goes with it: the response's, or inside a stream
/// that of the status comment; 0 when there is none. Decided by the code, then by the code wrapped in the
/// message, then by the status.
UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id);

// How an error is counted: words of a limited number, as the upstream may send any.

/// The code when it is documented or our own, its documented part when it wraps one; else "other", or "none"
/// when it is empty.
std::string_view error_label(std::string_view code);
std::string_view fault_label(UpstreamFault fault);

}  // namespace bailian
