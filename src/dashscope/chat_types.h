#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/access_record.h"

namespace bailian {

struct Message {
  std::string role;  // "user" or "assistant"
  std::string content;
};

/// A visitor's question, checked and cut to the limits.
struct Question {
  std::string bot;  // empty: the question names none
  AnswerMode mode = AnswerMode::kStream;
  std::string prompt;
  std::vector<Message> history;  // oldest first, without the prompt
  std::string session_id;        // only when there is no history
  std::vector<std::string> image_urls;
  std::string biz_params_json;        // an object with the allowed names, or empty
  std::string memory_id;              // only if browsers may send one
  std::vector<std::string> file_ids;  // likewise: files that were uploaded for this conversation
  bool include_thoughts = false;
};

/// A document that the answer relies on. The text cites it as <ref>[index]</ref>.
struct Citation {
  int index = 0;
  std::string title;
  std::string url;  // http(s), or empty
};

/// The details of an answer besides its text.
struct Answer {
  std::string session_id;
  std::string request_id;  // the upstream's own
  std::string finish_reason;
  std::string model;
  Usage usage;
  bool has_usage = false;
  bool is_rejected = false;  // a content check has touched it
  std::vector<Citation> citations;
};

/// How to treat an upstream failure. error_codes.h describes each value.
enum class UpstreamFault {
  kAuth,       // the key is not valid
  kApp,        // the app is unknown, unpublished or not allowed
  kRejected,   // the content was refused
  kTooLarge,   // the conversation is too big for the upstream
  kThrottled,  // try again later
  kQuota,      // arrears, quota used up
  kTimeout,    // connect, first token, idle or total
  kConnect,    // no usable connection: DNS, refused, TLS, reset
  kFailed      // everything else: 5xx, truncated, nonsense
};

/// Whether a failure may be the target's alone, so that another one can be asked; and how long the target
/// rests. If it fails again after that time, it rests twice as long, up to a limit.
enum class CoolDown {
  kNone,       // every target would fail
  kBrief,      // 5 s to 1 min: it is out of reach, silent or broken
  kThrottled,  // 10 s to 5 min, and at least as long as it asks for
  kLong        // 5 min: someone has to do something about the key, the account or the application
};

struct UpstreamError {
  UpstreamFault fault = UpstreamFault::kFailed;
  std::string code;     // the upstream's, or ours in lower case
  std::string message;  // the upstream's; hostile, and it may quote the key
  std::string request_id;
  bool retryable = false;               // certainly nothing was billed, so another attempt is free
  std::chrono::seconds retry_after{0};  // of kThrottled: how long the upstream asks us to wait, if it does
  CoolDown cool_down = CoolDown::kNone;
};

}  // namespace bailian
