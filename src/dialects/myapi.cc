#include "dialects/myapi.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "settings/biz_params.h"

namespace bailian {
namespace {

// --- the answer ---

constexpr std::string_view kEventEnd = "}\n\n";

std::string quoted(std::string_view text) {
  std::string json;
  append_json_string(json, text);
  return json;
}

bool is_word(std::string_view text) {
  constexpr size_t kMaxBytes = 32;
  return text.size() <= kMaxBytes && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == text.npos;
}

// Only when the answer did not end by itself, as with `length`. Old front ends compare the message of the
// terminal event, so it stays the same, and ignore this member.
std::string finish_reason_member(std::string_view reason) {
  if (reason.empty() || reason == "stop") return {};
  return fmt::format(R"(,"finish_reason":"{}")", is_word(reason) ? reason : "other");
}

std::string citation_json(const Citation& citation) {
  const std::string url = citation.url.empty() ? "" : R"(,"url":)" + quoted(citation.url);
  return fmt::format(R"({{"index":{},"title":{}{}}})", citation.index, quoted(citation.title), url);
}

// As many as fit into `max_bytes`.
std::string citations_member(const std::vector<Citation>& citations, size_t max_bytes) {
  if (citations.empty()) return {};
  std::string member = R"(,"citations":[)";
  for (const Citation& citation : citations) {
    const std::string json = citation_json(citation);
    if (member.size() + json.size() + std::string_view(",]").size() > max_bytes) break;
    if (!member.ends_with('[')) member += ',';
    member += json;
  }
  return member += ']';
}

// The members that a terminal event and a whole answer share.
std::string shared_members(const Answer& answer, std::string_view request_id) {
  return fmt::format(R"("session_id":{},"usage":{{"input_tokens":{},"output_tokens":{}}},"request_id":{}{})",
                     quoted(answer.session_id), answer.usage.input_tokens, answer.usage.output_tokens,
                     quoted(request_id), finish_reason_member(answer.finish_reason));
}

std::string finished_event(const Answer& answer, std::string_view request_id) {
  std::string event = R"(data: {"success":true,"finished":true,"message":"Stream completed",)";
  event += shared_members(answer, request_id);
  event += citations_member(answer.citations, kMaxEventBytes - event.size() - kEventEnd.size());
  event += kEventEnd;
  assert(event.size() <= kMaxEventBytes);
  return event;
}

// The text may have megabytes. It is in memory three times at most, and twice once this returns.
std::string answer_json(std::string text, std::string thought, const Answer& answer,
                        std::string_view request_id) {
  const std::string rest =
      shared_members(answer, request_id) + citations_member(answer.citations, std::string::npos) + '}';
  constexpr size_t kMembersBytes = 128;
  std::string json;
  json.reserve(kMembersBytes + 2 * json_bytes(text) + json_bytes(thought) + rest.size());
  json = R"({"success":true,"message":"Response Generated","result":)";
  const size_t start = json.size();
  append_json_string(json, text);
  free_memory(text);
  const size_t end = json.size();
  json += R"(,"response":)";
  json.append(json, start, end - start);
  if (!thought.empty()) {
    json += R"(,"thought":)";
    append_json_string(json, std::exchange(thought, {}));
  }
  json += ',';
  return json += rest;
}

// The longest start of `text`, cut at a character, that takes at most `max_bytes` within a JSON string.
std::string_view prefix_of_escaped_size(std::string_view text, size_t max_bytes) {
  constexpr size_t kLongestEscape = 6;
  if (text.size() * kLongestEscape <= max_bytes) return text;
  size_t end = 0;
  for (size_t size = 0; end < text.size(); ++end) {
    size += json_bytes(text[end]);
    if (size > max_bytes) break;
  }
  return utf8_prefix(text, end);
}

class MyapiWriter final : public AnswerWriter {
 public:
  MyapiWriter(AnswerMode mode, std::string_view request_id) : mode_(mode), request_id_(request_id) {}

  void begin(Headers& headers) const override {
    if (mode_ == AnswerMode::kJson) {
      headers.emplace_back("Content-Type", "application/json");
      headers.emplace_back("Cache-Control", "no-store");
      return;
    }
    headers.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
    headers.emplace_back("Cache-Control", "no-cache, no-transform");
    headers.emplace_back("X-Accel-Buffering", "no");
  }

  void text(std::string_view piece, const Answer& answer) override {
    add(R"(data: {"success":true,"content":)", piece, answer, text_);
  }
  void thought(std::string_view piece, const Answer& answer) override {
    add(R"(data: {"success":true,"thought":)", piece, answer, thought_);
  }

  std::optional<std::string_view> next_event() override {
    if (unwritten_.empty()) {
      free_memory(event_);  // for the next stream
      return std::nullopt;
    }
    constexpr size_t kQuotes = 2;
    const size_t around_bytes = head_.size() + kQuotes + tail_.size();
    assert(around_bytes < kMaxEventBytes);
    const std::string_view piece = prefix_of_escaped_size(unwritten_, kMaxEventBytes - around_bytes);
    unwritten_.remove_prefix(piece.size());
    event_.reserve(around_bytes + json_bytes(piece));
    event_ = head_;
    append_json_string(event_, piece);
    return event_ += tail_;
  }

  [[nodiscard]] std::string_view heartbeat() const override { return ": keep-alive\n\n"; }

  std::string finish(const Answer& answer) override {
    assert(unwritten_.empty());
    if (mode_ == AnswerMode::kStream) return finished_event(answer, request_id_);
    return answer_json(std::exchange(text_, {}), std::exchange(thought_, {}), answer, request_id_);
  }

  std::string cut(const Answer& answer, const HttpError& error) override {
    assert(mode_ == AnswerMode::kJson);
    std::string json = finish(answer);
    json.pop_back();
    return json += fmt::format(R"(,"truncated":true,"code":{}}})", quoted(error.code()));
  }

  std::string fail(const HttpError& error) override {
    assert(mode_ == AnswerMode::kStream);
    std::string event =
        fmt::format(R"(data: {{"success":false,"finished":true,"message":{},"code":{},"request_id":{})",
                    quoted(error.what()), quoted(error.code()), quoted(request_id_));
    event += kEventEnd;
    assert(event.size() <= kMaxEventBytes);
    return event;
  }

 private:
  void add(std::string_view head, std::string_view piece, const Answer& answer, std::string& whole) {
    assert(unwritten_.empty());
    if (mode_ == AnswerMode::kJson) {
      whole += piece;
      return;
    }
    head_ = head;
    unwritten_ = piece;
    if (!tail_.empty() && session_id_ == answer.session_id) return;
    session_id_ = answer.session_id;
    tail_ = fmt::format(R"(,"finished":false,"session_id":{}{})", quoted(session_id_), kEventEnd);
  }

  const AnswerMode mode_;
  const std::string request_id_;
  // Of a whole answer.
  std::string text_;
  std::string thought_;
  // For a stream: the start of its events, the rest of the piece that is split into events, and the last
  // event.
  std::string_view head_;
  std::string_view unwritten_;
  std::string session_id_;  // of tail_, how the events end
  std::string tail_;
  std::string event_;
};

// --- the question ---

constexpr size_t kMaxImages = 16;
constexpr size_t kMaxFiles = 10;  // the upstream's own limit
constexpr size_t kMaxIdBytes = 128;

HttpError invalid_request(const std::string& message) { return {400, "invalid_request", message}; }

bool is_string(const JsonValue* value) { return value != nullptr && value->IsString(); }

bool is_blank(std::string_view text) { return trim(text).empty(); }

bool is_empty(const JsonValue& value) {
  return value.IsNull() || (value.IsObject() && value.ObjectEmpty()) || (value.IsArray() && value.Empty());
}

JsonDocument parse_body(std::string_view body) {
  JsonDocument document;
  if (body.empty()) throw invalid_request("No data provided");
  if (const auto fault = parse_json(body, document)) {
    throw invalid_request(fmt::format("Invalid JSON: {} at byte {}", fault->what, fault->offset_bytes));
  }
  if (is_empty(document)) throw invalid_request("No data provided");
  if (!document.IsObject()) throw invalid_request("Invalid JSON: expected an object at byte 0");
  return document;
}

std::string parse_prompt(const JsonValue* sent, size_t max_bytes) {
  if (!is_string(sent) || is_blank(as_view(*sent))) throw invalid_request("last_prompt is required");
  const std::string_view prompt = as_view(*sent);
  if (prompt.size() > max_bytes) {
    throw HttpError(413, "too_large",
                    fmt::format("Request too large: last_prompt has {} bytes, the limit is {}", prompt.size(),
                                max_bytes));
  }
  return std::string(prompt);
}

std::vector<Message> parse_messages(const JsonValue& items) {
  std::vector<Message> messages;
  for (const auto& item : items.GetArray()) {
    const JsonValue* role = find_member(item, "role");
    const JsonValue* content = find_member(item, "content");
    if (!is_string(role) || !is_string(content)) continue;
    const bool is_known_role = as_view(*role) == "user" || as_view(*role) == "assistant";
    // The upstream refuses a conversation with an empty message.
    if (!is_known_role || is_blank(as_view(*content))) continue;
    messages.push_back({std::string(as_view(*role)), std::string(as_view(*content))});
  }
  return messages;
}

std::vector<Message> parse_history(const JsonValue* items, std::string_view prompt, size_t max_messages) {
  if (items == nullptr || !items->IsArray()) return {};
  std::vector<Message> history = parse_messages(*items);
  // Front ends append the new prompt to the history and also send it as last_prompt.
  if (!history.empty() && history.back().role == "user" && history.back().content == prompt)
    history.pop_back();
  if (history.size() > max_messages)
    history.erase(history.begin(), history.end() - static_cast<ptrdiff_t>(max_messages));
  return history;
}

std::vector<std::string> parse_image_urls(const JsonValue* items) {
  std::vector<std::string> urls;
  if (items == nullptr || items->IsNull()) return urls;
  if (!items->IsArray()) throw invalid_request("image_urls must be an array of http(s) URLs");
  for (const auto& item : items->GetArray()) {
    if (!item.IsString() || !is_web_url(as_view(item)) || !is_visible_ascii(as_view(item)) ||
        urls.size() == kMaxImages) {
      throw invalid_request(fmt::format("image_urls must be at most {} http(s) URLs", kMaxImages));
    }
    urls.emplace_back(as_view(item));
  }
  return urls;
}

std::string parse_biz_params(const JsonValue* sent, std::span<const std::string> allowed) {
  if (sent == nullptr || sent->IsNull() || allowed.empty()) return {};
  auto params = allowed_biz_params(*sent, allowed);
  if (const ValueFault* fault = fault_in(params)) throw invalid_request(fault->sentence);
  return std::get<std::string>(std::move(params));
}

bool allows(const QuestionLimits& limits, std::string_view name) {
  return std::ranges::find(limits.visitor_params, name) != limits.visitor_params.end();
}

bool is_id(const JsonValue& sent) {
  return sent.IsString() && !as_view(sent).empty() && as_view(sent).size() <= kMaxIdBytes &&
         is_visible_ascii(as_view(sent));
}

std::string parse_memory_id(const JsonValue* sent) {
  if (sent == nullptr || sent->IsNull()) return {};
  if (!is_id(*sent))
    throw invalid_request(fmt::format("memory_id must be printable ASCII of at most {} bytes", kMaxIdBytes));
  return std::string(as_view(*sent));
}

std::vector<std::string> parse_file_ids(const JsonValue* sent) {
  if (sent == nullptr || sent->IsNull()) return {};
  const auto is_list = [&] { return std::ranges::all_of(sent->GetArray(), is_id); };
  if (!sent->IsArray() || sent->Size() > kMaxFiles || !is_list()) {
    throw invalid_request(fmt::format("file_ids must be at most {} ids of printable ASCII", kMaxFiles));
  }
  std::vector<std::string> ids;
  for (const auto& item : sent->GetArray()) ids.emplace_back(as_view(item));
  return ids;
}

Question parse_question(std::string_view body, const QuestionLimits& limits) {
  const JsonDocument document = parse_body(body);
  Question question;
  question.prompt = parse_prompt(find_member(document, "last_prompt"), limits.max_prompt_bytes);
  question.history = parse_history(find_member(document, "conversation_history"), question.prompt,
                                   limits.max_history_messages);
  const JsonValue* session = find_member(document, "session_id");
  if (is_string(session) && question.history.empty()) question.session_id = as_view(*session);
  question.image_urls = parse_image_urls(find_member(document, "image_urls"));
  question.biz_params_json = parse_biz_params(find_member(document, "biz_params"), limits.visitor_params);
  if (allows(limits, "memory_id")) question.memory_id = parse_memory_id(find_member(document, "memory_id"));
  if (allows(limits, "file_ids")) question.file_ids = parse_file_ids(find_member(document, "file_ids"));
  const JsonValue* thoughts = find_member(document, "include_thoughts");
  question.include_thoughts = thoughts != nullptr && thoughts->IsTrue();
  return question;
}

ParsedRequest parse(const Request& request, std::string_view path, const QuestionLimits& limits) {
  ParsedRequest parsed{parse_question(request.body, limits), nullptr};
  parsed.question.mode = path.ends_with("/stream") ? AnswerMode::kStream : AnswerMode::kJson;
  parsed.writer = std::make_unique<MyapiWriter>(parsed.question.mode, request.request_id);
  return parsed;
}

Reply refuse(const HttpError& error, std::string_view request_id, Headers headers) {
  headers.emplace_back("Content-Type", "application/json");
  headers.emplace_back("Cache-Control", "no-store");
  add_retry_headers(error, headers);
  return {error.status(), std::move(headers),
          fmt::format(R"({{"success":false,"message":{},"code":{},"result":"","request_id":{}}})",
                      quoted(error.what()), quoted(error.code()), quoted(request_id))};
}

}  // namespace

constinit const Dialect kMyapi{&parse, &refuse};

}  // namespace bailian
