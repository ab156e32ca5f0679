#include "dashscope/answer_parser.h"

#include <algorithm>
#include <array>

#include "base/json.h"
#include "base/text.h"
#include "dashscope/error_codes.h"

namespace bailian {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxMessageBytes = 8192;
constexpr size_t kMaxShownPageBytes = 200;
constexpr size_t kMaxCitations = 32;
constexpr size_t kMaxTitleBytes = 200;
constexpr size_t kMaxUrlBytes = 500;
constexpr size_t kMaxMislabelledBytes = size_t{64} << 10;
constexpr std::array<std::string_view, 4> kEventFields = {"id", "event", "data", "retry"};

// Needs no escapes in JSON.
bool is_plain(std::string_view text) {
  return is_visible_ascii(text) && text.find_first_of("\"\\") == std::string_view::npos;
}

// A session id goes into every event, so it must be short and need no escapes.
bool is_session_id(std::string_view id) { return !id.empty() && id.size() <= kMaxIdBytes && is_plain(id); }

// One line that is not too long.
std::string shown_title(std::string_view title, std::string_view api_key) {
  // Masked before it is cut, as nothing masks half a key.
  const std::string_view read = utf8_prefix(title, kMaxTitleBytes + api_key.size());
  return std::string(utf8_prefix(printable(without_key(read, api_key)), kMaxTitleBytes));
}

std::string shown_url(std::string_view url, std::string_view api_key) {
  const bool good =
      is_web_url(url) && url.size() <= kMaxUrlBytes && is_plain(url) && !shows_key(url, api_key);
  return good ? std::string(url) : std::string();
}

// A gateway's page is shown to nobody as it is: its bytes need not even be text.
std::string shown_page(std::string_view page) {
  std::string shown(page.substr(0, kMaxShownPageBytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c <= ' ' || c > '~'; }, ' ');
  return shown;
}

// A type is compared without its parameters and in lower case (RFC 9110, 8.3.1).
bool is_type(std::string_view content_type, std::string_view type) {
  content_type = content_type.substr(0, content_type.find_first_of("; \t"));
  return to_lower(content_type) == type;
}

// What may stand before an answer: blank lines and byte order marks.
std::string_view without_noise(std::string_view text) {
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (!text.starts_with(kByteOrderMark)) return text;
    text.remove_prefix(kByteOrderMark.size());
  }
}

}  // namespace

AnswerParser::AnswerParser(std::string_view api_key, OnText on_text, OnText on_thought)
    : api_key_(api_key),
      on_text_(std::move(on_text)),
      on_thought_(std::move(on_thought)),
      events_([this](const SseEvent& event) { take_event(event); }),
      text_mask_(api_key),
      thought_mask_(api_key) {}

void AnswerParser::expect(std::string_view content_type) {
  if (shape_ != Shape::kUnknown || expected_ != Shape::kUnknown) return;
  if (is_type(content_type, "text/event-stream")) {
    expected_ = shape_ = Shape::kEvents;
    may_be_json_ = true;
  }
  if (is_type(content_type, "application/json")) expected_ = Shape::kJson;
}

AnswerParser::State AnswerParser::feed(int http_status, std::string_view bytes) {
  http_status_ = http_status;
  if (state_ != State::kReading) return state_;
  if (shape_ == Shape::kEvents) {
    if (may_be_json_) keep_if_json(bytes);
    if (!events_.feed(bytes)) fail_protocol("invalid_answer", "an event is too long");
    return state_;
  }
  if (body_.size() + bytes.size() > kMaxAnswerBytes) {
    fail_protocol("invalid_answer", "the answer is too long");
    return state_;
  }
  body_ += bytes;
  if (shape_ == Shape::kUnknown) sniff();
  if (shape_ == Shape::kEvents) {
    const std::string first = std::exchange(body_, {});
    if (!events_.feed(first)) fail_protocol("invalid_answer", "an event is too long");
  }
  return state_;
}

AnswerParser::State AnswerParser::finish(int http_status) {
  http_status_ = http_status;
  if (state_ != State::kReading) return state_;
  if (shape_ == Shape::kEvents) {
    finish_events();
  } else if (shape_ == Shape::kJson) {
    take_body();
  } else if (body_.empty()) {
    fail(http_status_, "", "an empty answer");
  } else {
    fail(http_status_, "", shown_page(body_));
  }
  return state_;
}

// An object that was labelled an event stream has no event. To be told from an unknown line, its start is
// kept.
void AnswerParser::keep_if_json(std::string_view bytes) {
  body_ += bytes;
  const std::string_view start = without_noise(body_);
  const bool is_open = kByteOrderMark.starts_with(start);  // also when nothing has come but noise
  may_be_json_ = !has_begun_ && body_.size() <= kMaxMislabelledBytes && (is_open || start.starts_with('{'));
  if (!may_be_json_) body_ = std::string();
}

void AnswerParser::finish_events() {
  events_.finish();
  if (state_ != State::kReading) return;
  if (may_be_json_ && !has_begun_ && !without_noise(body_).empty()) return take_body();
  fail_protocol("truncated_answer", "the stream ended before the answer did");
}

void AnswerParser::sniff() {
  body_.erase(0, body_.size() - without_noise(body_).size());
  const std::string_view start = body_;
  if (kByteOrderMark.starts_with(start)) return;
  const auto could_be_field = [&](std::string_view field) { return field.starts_with(start); };
  if (std::any_of(kEventFields.begin(), kEventFields.end(), could_be_field)) return;
  if (start.starts_with('{')) {
    shape_ = Shape::kJson;
    return;
  }
  const std::string_view field = start.substr(0, start.find_first_of(":\r\n"));
  const bool is_field =
      field.empty() || std::find(kEventFields.begin(), kEventFields.end(), field) != kEventFields.end();
  shape_ = is_field && field.size() < start.size() ? Shape::kEvents : Shape::kOther;
}

void AnswerParser::take_event(const SseEvent& event) {
  if (state_ != State::kReading || event.data == "[DONE]") return;
  const auto fields = parse_answer_fields(event.data);
  if (!fields) return fail_protocol("invalid_answer", "an event is not the JSON it should be");
  has_begun_ = true;
  const int status = event.http_status != 0 ? event.http_status : http_status_;
  take_fields(status, *fields, event.name == "error");
}

void AnswerParser::take_body() {
  std::string body = std::exchange(body_, {});
  body.erase(0, body.size() - without_noise(body).size());
  const auto fields = parse_answer_fields(body);
  if (!fields) return fail_protocol("invalid_answer", "the answer is not the JSON it should be");
  has_begun_ = true;
  take_fields(http_status_, *fields, false);
  if (state_ != State::kReading) return;
  if (!fields->has_output) return fail(http_status_, "", "an answer without output");
  fail_protocol("truncated_answer", "the answer is not finished");
}

void AnswerParser::take_fields(int http_status, const AnswerFields& fields, bool is_error) {
  if (answer_.request_id.empty()) answer_.request_id = shown_id(fields.request_id);
  if (answer_.model.empty()) answer_.model = shown_id(fields.model);
  if (fields.has_usage) {  // an error may name what it has cost
    answer_.usage = fields.usage;
    answer_.has_usage = true;
    is_billed_ = true;
  }
  if (fields.has_output) is_billed_ = true;
  if (is_error || (!fields.has_output && !fields.code.empty()))
    return fail(http_status, fields.code, fields.message);
  if (http_status < 400) is_billed_ = true;
  if (!fields.has_output) return;
  if (is_session_id(fields.session_id) && !shows_key(fields.session_id, api_key_)) {
    answer_.session_id = fields.session_id;
  }
  take_references(fields.references);
  take_thought(fields.thought);
  const bool last = !fields.finish_reason.empty();
  take_text(fields, last);
  if (last && state_ == State::kReading) {
    if (!emit_rest()) return fail_protocol("invalid_answer", "the answer is too long");
    answer_.finish_reason = utf8_prefix(fields.finish_reason, kMaxIdBytes);
    state_ = State::kFinished;
  }
}

void AnswerParser::take_thought(std::string_view thought) {
  if (thought.empty() || !on_thought_) return;
  // No answer fails for what was thought beside it.
  const size_t bytes = json_bytes(thought);
  if (thought_bytes_ + bytes > kMaxAnswerBytes) return;
  thought_bytes_ += bytes;
  tell_thought(thought_mask_.feed(thought));
}

// Each event repeats the list and may add to it.
void AnswerParser::take_references(const std::vector<AnswerFields::Reference>& references) {
  auto& citations = answer_.citations;
  for (size_t i = citations.size(); i < std::min(references.size(), kMaxCitations); ++i) {
    const auto& reference = references[i];
    const int index = reference.index != 0 ? reference.index : static_cast<int>(i) + 1;
    citations.push_back({index, shown_title(reference.title, api_key_), shown_url(reference.url, api_key_)});
  }
}

void AnswerParser::take_text(const AnswerFields& fields, bool last) {
  std::string_view text;
  if (fields.text) {
    text = text_.take(*fields.text, last);
  } else if (fields.workflow_text && fields.workflow_node_type != "LLM" &&
             fields.workflow_node_type != "Start") {
    // message_format_plus reports inner nodes too; what they say is no part of the answer.
    text = text_.take_message(*fields.workflow_text);
  }
  if (text_.is_contradictory()) {
    return fail_protocol("invalid_answer", "the upstream changed text that it had already sent");
  }
  if (!text.empty() && !emit(text_mask_.feed(text)))
    fail_protocol("invalid_answer", "the answer is too long");
}

// False when the answer is too long.
bool AnswerParser::emit(std::string_view text) {
  if (text.empty()) return true;
  emitted_bytes_ += json_bytes(text);
  if (emitted_bytes_ > kMaxAnswerBytes) return false;
  on_text_(text);
  return true;
}

// Whatever becomes of the answer, what was held back of it is told. False when the answer is too long.
bool AnswerParser::emit_rest() {
  tell_thought(thought_mask_.finish());
  return emit(text_mask_.feed(text_.release())) && emit(text_mask_.finish());
}

void AnswerParser::tell_thought(std::string_view thought) {
  if (!thought.empty()) on_thought_(thought);
}

std::string AnswerParser::shown_id(std::string_view id) const {
  if (!shows_key(id.substr(0, kMaxIdBytes + api_key_.size()), api_key_))
    return std::string(utf8_prefix(id, kMaxIdBytes));
  return "***";
}

void AnswerParser::fail(int http_status, std::string_view code, std::string_view message) {
  emit_rest();
  state_ = State::kFailed;
  error_ = classify_error(http_status, utf8_prefix(code, kMaxIdBytes), utf8_prefix(message, kMaxMessageBytes),
                          answer_.request_id);
  error_.retryable = error_.retryable && !is_billed_;
}

void AnswerParser::fail_protocol(std::string_view code, std::string_view message) {
  emit_rest();
  state_ = State::kFailed;
  error_ = {UpstreamFault::kFailed, std::string(code), std::string(message), answer_.request_id, false};
}

}  // namespace bailian
