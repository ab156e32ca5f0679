#include "answer_parser.h"

#include <algorithm>
#include <array>

#include "utf8.h"

namespace bailian {
namespace {

constexpr size_t kMaxSessionIdBytes = 128;
constexpr size_t kMaxShownPageBytes = 200;
constexpr size_t kMaxCitations = 32;
constexpr size_t kMaxTitleBytes = 200;
constexpr size_t kMaxUrlBytes = 500;
constexpr size_t kMaxSniffedBytes = 4096;  // of white space before the answer
constexpr std::array<std::string_view, 4> kEventFields = {"id", "event", "data", "retry"};

bool is_printable(char c) { return c > ' ' && c < '\x7f'; }
bool is_plain(char c) { return is_printable(c) && c != '"' && c != '\\'; }

// A session id goes into every event, so it must be short and need no escapes.
bool is_session_id(std::string_view id) {
  return !id.empty() && id.size() <= kMaxSessionIdBytes && std::all_of(id.begin(), id.end(), is_plain);
}

// One line that is not too long.
std::string shown_title(std::string_view title) {
  std::string shown(utf8_prefix(title, kMaxTitleBytes));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return shown;
}

std::string shown_url(std::string_view url) {
  const bool is_web = url.starts_with("http://") || url.starts_with("https://");
  if (!is_web || url.size() > kMaxUrlBytes || !std::all_of(url.begin(), url.end(), is_plain)) return {};
  return std::string(url);
}

// A gateway's page is shown to nobody as it is: its bytes need not even be text.
std::string shown_page(std::string_view page) {
  std::string shown(page.substr(0, kMaxShownPageBytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return !is_printable(c); }, ' ');
  return shown;
}

}  // namespace

AnswerParser::AnswerParser(OnText on_text, OnText on_thought)
    : on_text_(std::move(on_text)),
      on_thought_(std::move(on_thought)),
      events_([this](const SseEvent& event) { take_event(event); }) {}

AnswerParser::State AnswerParser::feed(int http_status, std::string_view bytes) {
  http_status_ = http_status;
  if (state_ != State::kReading) return state_;
  if (shape_ == Shape::kEvents) {
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

void AnswerParser::finish_events() {
  events_.finish();
  if (state_ != State::kReading) return;
  if (pieces_ == Pieces::kHeld) settle_held({});
  fail_protocol("truncated_answer", "the stream ended before the answer did");
}

void AnswerParser::sniff() {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::string_view start = body_;
  if (kByteOrderMark.starts_with(start)) return;
  if (start.starts_with(kByteOrderMark)) start.remove_prefix(kByteOrderMark.size());
  start.remove_prefix(std::min(start.find_first_not_of(" \t\r\n"), start.size()));
  const auto could_be_field = [&](std::string_view field) { return field.starts_with(start); };
  if (body_.size() < kMaxSniffedBytes &&
      std::any_of(kEventFields.begin(), kEventFields.end(), could_be_field)) {
    return;
  }
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
  const auto fields = parse_answer_fields(body_);
  if (!fields) return fail_protocol("invalid_answer", "the answer is not the JSON it should be");
  has_begun_ = true;
  take_fields(http_status_, *fields, false);
  if (state_ != State::kReading) return;
  if (!fields->has_output) return fail(http_status_, "", "an answer without output");
  fail_protocol("truncated_answer", "the answer is not finished");
}

void AnswerParser::take_fields(int http_status, const AnswerFields& fields, bool is_error) {
  if (answer_.request_id.empty()) answer_.request_id = fields.request_id;
  if (is_error || (!fields.has_output && !fields.code.empty()))
    return fail(http_status, fields.code, fields.message);
  if (!fields.has_output) return;
  if (is_session_id(fields.session_id)) answer_.session_id = fields.session_id;
  if (answer_.model.empty()) answer_.model = fields.model;
  if (fields.has_usage) {
    answer_.usage = fields.usage;
    answer_.has_usage = true;
  }
  take_references(fields.references);
  take_thought(fields.thought);
  const bool last = !fields.finish_reason.empty();
  if (fields.text) {
    take_text(*fields.text, last);
  } else if (fields.workflow_text && fields.workflow_node_type != "LLM" &&
             fields.workflow_node_type != "Start") {
    // message_format_plus reports inner nodes too; what they say is no part of the answer.
    pieces_ = Pieces::kWorkflow;
    sent_ += *fields.workflow_text;
    emit(*fields.workflow_text);
  }
  if (last && state_ == State::kReading) {
    if (pieces_ == Pieces::kHeld) settle_held({});
    answer_.finish_reason = fields.finish_reason;
    state_ = State::kFinished;
  }
}

void AnswerParser::take_thought(std::string_view thought) {
  if (thought.empty() || !on_thought_) return;
  // No answer fails for what was thought beside it.
  if (thought_bytes_ + thought.size() > kMaxAnswerBytes) return;
  thought_bytes_ += thought.size();
  on_thought_(thought);
}

// Each event repeats the list and may add to it.
void AnswerParser::take_references(const std::vector<AnswerFields::Reference>& references) {
  auto& citations = answer_.citations;
  for (size_t i = citations.size(); i < std::min(references.size(), kMaxCitations); ++i) {
    const auto& reference = references[i];
    const int index = reference.index != 0 ? reference.index : static_cast<int>(i) + 1;
    citations.push_back({index, shown_title(reference.title), shown_url(reference.url)});
  }
}

// Whether pieces continue or repeat the text is not told by the stream (contract, 3.2 and 3.3): a workflow
// may answer cumulatively although increments were asked for. A second piece that does not begin with the
// first settles it, which is nearly always; one that does is held until the third.
void AnswerParser::take_text(std::string_view text, bool last) {
  if (pieces_ == Pieces::kIncremental) return emit(text);
  if (pieces_ == Pieces::kFirst) return take_first_piece(text);
  if (pieces_ == Pieces::kOne) return take_second_piece(text, last);
  if (pieces_ == Pieces::kHeld) return take_third_piece(text, last);
  const bool says_nothing = pieces_ == Pieces::kWorkflow ? !text.starts_with(sent_) : text.empty();
  if (!says_nothing) emit_rest_of(text);
}

void AnswerParser::take_first_piece(std::string_view text) {
  if (text.empty()) return;
  pieces_ = Pieces::kOne;
  sent_ = text;
  emit(text);
}

void AnswerParser::take_second_piece(std::string_view text, bool last) {
  const bool repeats = text.starts_with(sent_) && (last || text.size() > sent_.size());
  if (!repeats) {
    pieces_ = Pieces::kIncremental;
    sent_.clear();
    return emit(text);
  }
  if (last) {
    pieces_ = Pieces::kCumulative;
    return emit_rest_of(text);
  }
  pieces_ = Pieces::kHeld;
  held_ = text;
}

void AnswerParser::take_third_piece(std::string_view text, bool last) {
  const bool repeats = text.starts_with(held_) && (last || text.size() > held_.size());
  if (!repeats) return settle_held(text);
  pieces_ = Pieces::kCumulative;
  emit_rest_of(text);
}

// Neither is so long that the first of the two could be one too many.
static_assert(2 * SseParser::kMaxEventBytes < AnswerParser::kMaxAnswerBytes);
void AnswerParser::settle_held(std::string_view text) {
  pieces_ = Pieces::kIncremental;
  sent_.clear();
  emit(std::exchange(held_, {}));
  emit(text);
}

void AnswerParser::emit(std::string_view text) {
  if (text.empty()) return;
  emitted_bytes_ += text.size();
  if (emitted_bytes_ > kMaxAnswerBytes) return fail_protocol("invalid_answer", "the answer is too long");
  on_text_(text);
}

void AnswerParser::emit_rest_of(std::string_view whole) {
  if (!whole.starts_with(sent_)) {
    return fail_protocol("invalid_answer", "the upstream took back what it had said");
  }
  emit(whole.substr(sent_.size()));
  sent_ = whole;
}

void AnswerParser::fail(int http_status, std::string_view code, std::string_view message) {
  state_ = State::kFailed;
  error_ = classify_error(http_status, code, message, answer_.request_id);
}

void AnswerParser::fail_protocol(std::string_view code, std::string_view message) {
  state_ = State::kFailed;
  error_ = {UpstreamFault::kFailed, std::string(code), std::string(message), answer_.request_id, false};
}

}  // namespace bailian
