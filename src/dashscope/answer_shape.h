#pragma once

#include <string_view>

namespace bailian {

/// The kind of a response body.
enum class AnswerShape {
  kUnknown,  // not enough bytes yet
  kEvents,   // a stream of server-sent events
  kJson,     // one JSON object
  kOther     // a gateway's error page, or nonsense
};

/// Whether a Content-Type names an event stream.
bool is_event_stream(std::string_view content_type);

/// `body` without the blank lines and byte order marks that may precede an answer.
std::string_view without_preamble(std::string_view body);

/// The shape of a body, judged by its first bytes after the preamble.
AnswerShape shape_of(std::string_view body);

/// Whether a body with these first bytes may still turn out to be a JSON object.
bool may_be_object(std::string_view body);

}  // namespace bailian
