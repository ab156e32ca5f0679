#include "dialects/myapi.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "settings/biz_params.h"

namespace bailian {
namespace {

constexpr size_t kMaxImages = 16;

// The upstream recovers from throttling within about a minute and seldom names a time itself.
constexpr std::string_view kThrottledRetryAfter = "10";
constexpr std::string_view kBusyRetryAfter = "5";

HttpError invalid_request(const std::string& message) { return {400, "invalid_request", message}; }

bool is_string(const JsonValue* value) { return value != nullptr && value->IsString(); }

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

std::vector<Message> parse_history(const JsonValue& items) {
  std::vector<Message> history;
  for (const auto& item : items.GetArray()) {
    const JsonValue* role = find_member(item, "role");
    const JsonValue* content = find_member(item, "content");
    if (!is_string(role) || !is_string(content)) continue;
    const bool may_speak = as_view(*role) == "user" || as_view(*role) == "assistant";
    // The upstream refuses a conversation with an empty message.
    if (!may_speak || is_blank(as_view(*content))) continue;
    history.push_back({std::string(as_view(*role)), std::string(as_view(*content))});
  }
  return history;
}

// Front ends push the new prompt into the history and send it as last_prompt as well.
void drop_repeated_prompt(std::vector<Message>& history, std::string_view prompt) {
  if (!history.empty() && history.back().role == "user" && history.back().content == prompt)
    history.pop_back();
}

void keep_newest(std::vector<Message>& history, size_t most) {
  if (history.size() > most) history.erase(history.begin(), history.end() - static_cast<ptrdiff_t>(most));
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
  try {
    return allowed_biz_params(*sent, allowed);
  } catch (const std::invalid_argument& error) {
    throw invalid_request(error.what());
  }
}

bool is_empty(const JsonValue& value) {
  return value.IsNull() || (value.IsObject() && value.ObjectEmpty()) || (value.IsArray() && value.Empty());
}

void write_usage(JsonWriter& writer, const Usage& usage) {
  writer.Key("usage");
  writer.StartObject();
  writer.Key("input_tokens");
  writer.Uint64(usage.input_tokens);
  writer.Key("output_tokens");
  writer.Uint64(usage.output_tokens);
  writer.EndObject();
}

void write_citation(JsonWriter& writer, const Citation& citation) {
  writer.StartObject();
  writer.Key("index");
  writer.Int(citation.index);
  write_member(writer, "title", citation.title);
  if (!citation.url.empty()) write_member(writer, "url", citation.url);
  writer.EndObject();
}

bool is_word(std::string_view text) {
  constexpr size_t kMaxBytes = 32;
  return text.size() <= kMaxBytes && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == text.npos;
}

// Why an answer ended, when it did not end by itself: `length` for one that was cut.
void write_finish_reason(JsonWriter& writer, const Answer& answer) {
  const std::string& reason = answer.finish_reason;
  if (reason.empty() || reason == "stop") return;
  write_member(writer, "finish_reason", is_word(reason) ? reason : "other");
}

// As many as fit before the text is longer than `max_bytes`.
void write_citations(JsonWriter& writer, const JsonBuffer& buffer, const std::vector<Citation>& citations,
                     size_t max_bytes) {
  if (citations.empty()) return;
  writer.Key("citations");
  writer.StartArray();
  for (const Citation& citation : citations) {
    JsonBuffer one;
    JsonWriter measured(one);
    write_citation(measured, citation);
    if (buffer.GetSize() + one.GetSize() + 1 > max_bytes) break;
    write_citation(writer, citation);
  }
  writer.EndArray();
}

std::string as_event(const JsonBuffer& json) { return fmt::format("data: {}\n\n", written(json)); }

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

}  // namespace

Question parse_chat_request(std::string_view body, const ChatLimits& limits) {
  if (body.empty()) throw invalid_request("No data provided");
  JsonDocument document;
  if (const auto fault = parse_json(body, document)) {
    throw invalid_request(fmt::format("Invalid JSON: {} at byte {}", fault->what, fault->offset_bytes));
  }
  if (is_empty(document)) throw invalid_request("No data provided");
  if (!document.IsObject()) throw invalid_request("Invalid JSON: expected an object at byte 0");

  const JsonValue* prompt = find_member(document, "last_prompt");
  if (!is_string(prompt) || is_blank(as_view(*prompt))) throw invalid_request("last_prompt is required");
  Question request;
  request.prompt = as_view(*prompt);
  if (request.prompt.size() > limits.max_prompt_bytes) {
    throw HttpError(413, "too_large",
                    fmt::format("Request too large: last_prompt has {} bytes, the limit is {}",
                                request.prompt.size(), limits.max_prompt_bytes));
  }
  if (const JsonValue* history = find_member(document, "conversation_history");
      history && history->IsArray()) {
    request.history = parse_history(*history);
    drop_repeated_prompt(request.history, request.prompt);
    keep_newest(request.history, limits.max_history_messages);
  }
  if (const JsonValue* session = find_member(document, "session_id");
      is_string(session) && request.history.empty()) {
    request.session_id = as_view(*session);
  }
  request.image_urls = parse_image_urls(find_member(document, "image_urls"));
  request.biz_params_json = parse_biz_params(find_member(document, "biz_params"), limits.visitor_params);
  const JsonValue* thoughts = find_member(document, "include_thoughts");
  request.include_thoughts = thoughts != nullptr && thoughts->IsTrue();
  return request;
}

namespace {

void write_pieces(std::string_view head, std::string_view text, std::string_view session_id,
                  const std::function<void(std::string_view)>& write) {
  JsonBuffer buffer;
  constexpr std::string_view kMiddle = R"(,"finished":false,"session_id":)";
  constexpr std::string_view kTail = "}\n\n";
  constexpr size_t kQuotes = 4;
  const size_t room =
      kMaxEventBytes - head.size() - kMiddle.size() - kTail.size() - kQuotes - session_id.size();
  const auto put = [&](std::string_view bytes) {
    std::copy(bytes.begin(), bytes.end(), buffer.Push(bytes.size()));
  };
  while (!text.empty()) {
    const std::string_view piece = prefix_of_escaped_size(text, room);
    text.remove_prefix(piece.size());
    buffer.Clear();
    JsonWriter writer(buffer);
    put(head);
    write_string(writer, piece);
    put(kMiddle);
    writer.Reset(buffer);
    write_string(writer, session_id);
    put(kTail);
    write(written(buffer));
  }
}

}  // namespace

void write_text_events(std::string_view text, std::string_view session_id,
                       const std::function<void(std::string_view)>& write) {
  write_pieces(R"(data: {"success":true,"content":)", text, session_id, write);
}

void write_thought_events(std::string_view thought, std::string_view session_id,
                          const std::function<void(std::string_view)>& write) {
  write_pieces(R"(data: {"success":true,"thought":)", thought, session_id, write);
}

std::string finished_event(const Answer& answer, std::string_view request_id) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  writer.Key("success");
  writer.Bool(true);
  writer.Key("finished");
  writer.Bool(true);
  write_member(writer, "message", "Stream completed");
  write_member(writer, "session_id", answer.session_id);
  write_usage(writer, answer.usage);
  write_member(writer, "request_id", request_id);
  write_finish_reason(writer, answer);
  constexpr std::string_view kAround = "data: ]}\n\n";
  write_citations(writer, buffer, answer.citations, kMaxEventBytes - kAround.size());
  writer.EndObject();
  return as_event(buffer);
}

std::string failed_event(const HttpError& error, std::string_view request_id) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  writer.Key("success");
  writer.Bool(false);
  writer.Key("finished");
  writer.Bool(true);
  write_member(writer, "message", error.what());
  write_member(writer, "code", error.code());
  write_member(writer, "request_id", request_id);
  writer.EndObject();
  return as_event(buffer);
}

std::string answer_json(std::string text, std::string thought, const Answer& answer,
                        std::string_view request_id) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "session_id", answer.session_id);
  write_usage(writer, answer.usage);
  write_member(writer, "request_id", request_id);
  write_finish_reason(writer, answer);
  write_citations(writer, buffer, answer.citations, std::string_view::npos);
  writer.EndObject();
  const std::string_view rest = written(buffer).substr(1);  // without the brace

  constexpr size_t kMembersBytes = 128;
  std::string json;
  json.reserve(kMembersBytes + 2 * json_bytes(text) + json_bytes(thought) + rest.size());
  json = R"({"success":true,"message":"Response Generated","result":)";
  const size_t start = json.size();
  append_json_string(json, text);
  text = std::string();
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

std::string error_json(const HttpError& error, std::string_view request_id) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  writer.Key("success");
  writer.Bool(false);
  write_member(writer, "message", error.what());
  write_member(writer, "code", error.code());
  write_member(writer, "result", "");
  write_member(writer, "request_id", request_id);
  writer.EndObject();
  return std::string(written(buffer));
}

Reply error_reply(const HttpError& error, std::string_view request_id, Headers headers) {
  headers.emplace_back("Content-Type", "application/json");
  headers.emplace_back("Cache-Control", "no-store");
  if (error.status() == 429) {
    const auto told = error.retry_after().count();
    headers.emplace_back("Retry-After", told > 0 ? std::to_string(told) : std::string(kThrottledRetryAfter));
  }
  if (error.code() == "overloaded") headers.emplace_back("Retry-After", kBusyRetryAfter);
  return {error.status(), std::move(headers), error_json(error, request_id)};
}

}  // namespace bailian
