#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/exchange.h"
#include "dashscope/chat_types.h"

namespace bailian {

// Our public JSON: what old front ends send and read. Names and texts are fixed by them.

struct ChatLimits {
  size_t max_prompt_bytes;
  size_t max_history_messages;
  std::span<const std::string> visitor_params{};  // what biz_params may hold; empty: it is ignored
};

/// Reads the body of a chat request. Throws HttpError 400 or 413.
Question parse_chat_request(std::string_view body, const ChatLimits& limits);

/// Calls `write` with one `data:` event per piece of text, none longer than kMaxEventBytes; a longer text is
/// cut at character boundaries. `text` is not empty and valid UTF-8. The view passed on dies with the call.
void write_text_events(std::string_view text, std::string_view session_id,
                       const std::function<void(std::string_view)>& write);

/// The same for a piece of what the model thinks.
void write_thought_events(std::string_view thought, std::string_view session_id,
                          const std::function<void(std::string_view)>& write);

/// The terminal event of an answer that is complete. A finish reason other than `stop` is added: old front
/// ends compare the message, so it stays the same, and pass the member over.
std::string finished_event(const Answer& answer, std::string_view request_id);
/// The terminal event after a failure in mid-stream.
std::string failed_event(const HttpError& error, std::string_view request_id);

inline constexpr std::string_view kKeepAliveComment = ": keep-alive\n\n";

/// The body of a non-streamed answer; a thought that is empty is left out. The text, which may have
/// megabytes, is in memory three times at most while the body is made and twice after.
std::string answer_json(std::string text, std::string thought, const Answer& answer,
                        std::string_view request_id);
/// The body of every error before anything was sent.
std::string error_json(const HttpError& error, std::string_view request_id);

/// The reply that tells of an error; `headers` are those of every answer to this request.
Reply error_reply(const HttpError& error, std::string_view request_id, Headers headers);

}  // namespace bailian
