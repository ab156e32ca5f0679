#include "dashscope/answer_shape.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace bailian {
namespace {

constexpr std::array<std::string_view, 4> kEventFields = {"id", "event", "data", "retry"};

}  // namespace

// A type is compared without its parameters and in lower case (RFC 9110, 8.3.1).
bool is_event_stream(std::string_view content_type) {
  return to_lower(content_type.substr(0, content_type.find_first_of("; \t"))) == "text/event-stream";
}

std::string_view without_preamble(std::string_view body) {
  while (true) {
    body.remove_prefix(std::min(body.find_first_not_of(" \t\r\n"), body.size()));
    if (!body.starts_with(kByteOrderMark)) return body;
    body.remove_prefix(kByteOrderMark.size());
  }
}

AnswerShape shape_of(std::string_view body) {
  const auto may_become = [body](std::string_view start) { return start.starts_with(body); };
  if (may_become(kByteOrderMark) || std::ranges::any_of(kEventFields, may_become))
    return AnswerShape::kUnknown;
  if (body.starts_with('{')) return AnswerShape::kJson;
  // A line that starts with a colon is a comment.
  const std::string_view field = body.substr(0, body.find_first_of(":\r\n"));
  const bool is_field = field.empty() || std::ranges::find(kEventFields, field) != kEventFields.end();
  return is_field && field.size() < body.size() ? AnswerShape::kEvents : AnswerShape::kOther;
}

bool may_be_object(std::string_view body) {
  const std::string_view start = without_preamble(body);
  return start.starts_with('{') || kByteOrderMark.starts_with(start);
}

}  // namespace bailian
