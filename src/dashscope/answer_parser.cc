#include "dashscope/answer_parser.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "dashscope/error_codes.h"
#include "dashscope/session_id.h"

namespace bailian {
namespace {

constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxMessageBytes = 8192;
constexpr size_t kMaxShownPageBytes = 200;
constexpr size_t kMaxCitations = 32;
constexpr size_t kMaxTitleBytes = 200;
constexpr size_t kMaxUrlBytes = 500;
constexpr std::array<std::string_view, 4> kEventFields = {"id", "event", "data", "retry"};

// Whether it names an event stream. A type is compared without its parameters and in lower case (RFC
// 9110, 8.3.1).
bool is_event_stream(std::string_view content_type) {
  return to_lower(content_type.substr(0, content_type.find_first_of("; \t"))) == "text/event-stream";
}

// `body` without the blank lines and byte order marks that may precede an answer.
std::string_view without_preamble(std::string_view body) {
  while (true) {
    body.remove_prefix(std::min(body.find_first_not_of(" \t\r\n"), body.size()));
    if (!body.starts_with(kByteOrderMark)) return body;
    body.remove_prefix(kByteOrderMark.size());
  }
}

// The shape of a body, judged by its first bytes after the preamble.
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

// Whether a body with these first bytes may still turn out to be a JSON object.
bool may_be_object(std::string_view body) {
  const std::string_view start = without_preamble(body);
  return start.starts_with('{') || kByteOrderMark.starts_with(start);
}

// Needs no escapes in JSON.
bool is_plain(std::string_view text) {
  return is_visible_ascii(text) && text.find_first_of("\"\\") == std::string_view::npos;
}

// Every event repeats the session id, so it must be short and need no escapes.
bool is_session_id(std::string_view id) { return !id.empty() && id.size() <= kMaxIdBytes && is_plain(id); }

// One line of limited length.
std::string shown_title(std::string_view title, std::string_view api_key) {
  // Masked before it is cut, because half a key is not recognized.
  const std::string_view read = utf8_prefix(title, kMaxTitleBytes + api_key.size());
  return std::string(utf8_prefix(printable(without_key(read, api_key)), kMaxTitleBytes));
}

std::string shown_url(std::string_view url, std::string_view api_key) {
  const bool good =
      is_web_url(url) && url.size() <= kMaxUrlBytes && is_plain(url) && !shows_key(url, api_key);
  return good ? std::string(url) : std::string();
}

// A gateway's page may hold any bytes; only printable ASCII is kept.
std::string shown_page(std::string_view page) {
  std::string shown(page.substr(0, kMaxShownPageBytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c <= ' ' || c > '~'; }, ' ');
  return shown;
}

}  // namespace

AnswerParser::AnswerParser(std::string_view api_key, const Target* session_target)
    : api_key_(api_key), session_target_(session_target), text_mask_(api_key), thought_mask_(api_key) {}

void AnswerParser::expect(std::string_view content_type) {
  if (shape_ != AnswerShape::kUnknown || !is_event_stream(content_type)) return;
  shape_ = AnswerShape::kEvents;
  may_be_object_ = true;
}

void AnswerParser::feed(int http_status, std::string_view bytes) {
  assert(step_ == Step::kRead && !body_ended_);
  http_status_ = http_status;
  if (state_ != State::kReading) return;
  if (shape_ == AnswerShape::kEvents) {
    if (may_be_object_) keep_if_object(bytes);
    if (!may_be_object_ && !body_.empty()) free_memory(body_);
    return sse_.feed(bytes);
  }
  if (body_.size() + bytes.size() > kMaxAnswerBytes)
    return fail_protocol("invalid_answer", "the answer is too long");
  body_ += bytes;
  if (shape_ != AnswerShape::kUnknown) return;
  body_.erase(0, body_.size() - without_preamble(body_).size());
  shape_ = shape_of(body_);
  if (shape_ == AnswerShape::kEvents) sse_.feed(body_);
}

void AnswerParser::finish(int http_status) {
  assert(step_ == Step::kRead && !body_ended_);
  if (state_ != State::kReading) return;
  http_status_ = http_status;
  body_ended_ = true;
  sse_.finish();
}

std::optional<AnswerPiece> AnswerParser::next() {
  while (step_ != Step::kRead || read()) {
    const AnswerPiece piece = take_step();
    if (!piece.text.empty()) return piece;
  }
  return std::nullopt;
}

// A step that fails sets the next step itself.
AnswerPiece AnswerParser::take_step() {
  using Kind = AnswerPiece::Kind;
  switch (step_) {
    case Step::kThought:
      step_ = Step::kText;
      return {Kind::kThought, new_thought()};
    case Step::kText:
      step_ = outcome_ == State::kReading ? Step::kRead : Step::kHeldThought;
      return {Kind::kText, new_text()};
    case Step::kHeldThought:
      step_ = Step::kHeldText;
      return {Kind::kThought, thought_mask_.finish()};
    case Step::kHeldText:
      step_ = Step::kMaskedText;
      return {Kind::kText, limited(text_mask_.feed(text_.release()))};
    case Step::kMaskedText:
      step_ = Step::kEnd;
      return {Kind::kText, limited(text_mask_.finish())};
    case Step::kRead:
    case Step::kEnd:
      break;
  }
  end();
  return {};
}

// Reads the input of the next steps. False when more bytes are needed or the answer has ended.
bool AnswerParser::read() {
  fields_.reset();
  if (state_ != State::kReading) return false;
  if (shape_ == AnswerShape::kEvents && read_event()) return true;
  if (body_ended_) read_whole_body();
  return body_ended_;
}

bool AnswerParser::read_event() {
  while (const auto event = sse_.next()) {
    if (event->data == "[DONE]") continue;
    take_object(event->data, event->http_status != 0 ? event->http_status : http_status_,
                event->name == "error");
    return true;
  }
  if (sse_.is_refused()) fail_protocol("invalid_answer", "an event is too long");
  return sse_.is_refused();
}

// After the last event, or when there were none.
void AnswerParser::read_whole_body() {
  const bool is_object = shape_ == AnswerShape::kJson || (may_be_object_ && !without_preamble(body_).empty());
  if (is_object && !has_begun_) {
    body_.erase(0, body_.size() - without_preamble(body_).size());
    take_object(body_, http_status_, false);
    if (outcome_ == State::kReading && !fields_->has_output)
      fail(http_status_, "", "an answer without output");
  } else if (is_object || shape_ == AnswerShape::kEvents) {
    fail_protocol("truncated_answer", "the response ended before the answer did");
  } else {
    fail(http_status_, "", body_.empty() ? "an empty answer" : shown_page(body_));
  }
}

// An object that is labelled an event stream has no event. The start of the body is kept until it turns out
// to be an unknown line.
void AnswerParser::keep_if_object(std::string_view bytes) {
  constexpr size_t kMaxMislabelledBytes = size_t{64} << 10;
  body_ += bytes;
  may_be_object_ = !has_begun_ && body_.size() <= kMaxMislabelledBytes && may_be_object(body_);
}

void AnswerParser::take_object(std::string& json, int http_status, bool is_error) {
  fields_ = parse_answer_fields(json);
  if (!fields_) return fail_protocol("invalid_answer", "the answer is not a valid JSON object");
  step_ = Step::kThought;
  has_begun_ = true;
  if (answer_.request_id.empty()) answer_.request_id = shown_id(fields_->request_id);
  if (answer_.model.empty()) answer_.model = shown_id(fields_->model);
  if (fields_->has_usage) {  // an error may include its usage
    answer_.usage = fields_->usage;
    answer_.has_usage = true;
  }
  is_billed_ = is_billed_ || fields_->has_usage || fields_->has_output;
  if (is_error || (!fields_->has_output && !fields_->code.empty()))
    return fail(http_status, fields_->code, fields_->message);
  is_billed_ = is_billed_ || http_status < 400;
  if (fields_->has_output) take_output();
}

void AnswerParser::take_output() {
  answer_.is_rejected = answer_.is_rejected || fields_->is_rejected;
  const std::string_view session_id = fields_->session_id;
  const bool is_new = session_id != session_id_;  // nearly every event repeats it
  if (is_new && is_session_id(session_id) && !shows_key(session_id, api_key_)) {
    session_id_ = session_id;
    answer_.session_id =
        session_target_ == nullptr ? session_id_ : mark_session(session_id_, *session_target_);
  }
  take_references();
  if (!fields_->finish_reason.empty()) outcome_ = State::kFinished;
}

// Each event repeats the list and may add to it.
void AnswerParser::take_references() {
  const auto& references = fields_->references;
  auto& citations = answer_.citations;
  for (size_t i = citations.size(); i < std::min(references.size(), kMaxCitations); ++i) {
    const auto& reference = references[i];
    const int index = reference.index != 0 ? reference.index : static_cast<int>(i) + 1;
    citations.push_back({index, shown_title(reference.title, api_key_), shown_url(reference.url, api_key_)});
  }
}

// A thought that is too long does not make the answer fail.
std::string_view AnswerParser::new_thought() {
  const std::string_view thought = fields_->thought;
  const size_t bytes = json_bytes(thought);
  if (thought.empty() || thought_bytes_ + bytes > kMaxAnswerBytes) return {};
  thought_bytes_ += bytes;
  return thought_mask_.feed(thought);
}

std::string_view AnswerParser::new_text() {
  std::string_view text;
  if (fields_->text) {
    text = text_.take(*fields_->text, outcome_ == State::kFinished);
  } else if (fields_->workflow_text && fields_->workflow_node_type != "LLM" &&
             fields_->workflow_node_type != "Start") {
    // message_format_plus also reports inner nodes, whose messages are not part of the answer.
    text = text_.take_message(*fields_->workflow_text);
  }
  if (!text_.is_contradictory()) return text.empty() ? text : limited(text_mask_.feed(text));
  fail_protocol("invalid_answer", "the upstream changed text that it had already sent");
  return {};
}

std::string_view AnswerParser::limited(std::string_view text) {
  text_bytes_ += json_bytes(text);
  if (text_bytes_ <= kMaxAnswerBytes) return text;
  if (outcome_ != State::kFailed) fail_protocol("invalid_answer", "the answer is too long");
  return {};
}

std::string AnswerParser::shown_id(std::string_view id) const {
  if (shows_key(id.substr(0, kMaxIdBytes + api_key_.size()), api_key_)) return "***";
  return std::string(utf8_prefix(id, kMaxIdBytes));
}

void AnswerParser::fail(int http_status, std::string_view code, std::string_view message) {
  UpstreamError error = classify_error(http_status, utf8_prefix(code, kMaxIdBytes),
                                       utf8_prefix(message, kMaxMessageBytes), answer_.request_id);
  error.retryable = error.retryable && !is_billed_;
  fail_with(std::move(error));
}

void AnswerParser::fail_protocol(std::string_view code, std::string_view message) {
  fail_with({UpstreamFault::kFailed, std::string(code), std::string(message), answer_.request_id, false});
}

// The text that was held back is returned first.
void AnswerParser::fail_with(UpstreamError error) {
  assert(state_ == State::kReading && outcome_ != State::kFailed);
  error_ = std::move(error);
  outcome_ = State::kFailed;
  step_ = Step::kHeldThought;
}

void AnswerParser::end() {
  assert(state_ == State::kReading && outcome_ != State::kReading);
  if (outcome_ == State::kFinished) answer_.finish_reason = utf8_prefix(fields_->finish_reason, kMaxIdBytes);
  state_ = outcome_;
  step_ = Step::kRead;
  fields_.reset();
  free_memory(body_);
}

}  // namespace bailian
