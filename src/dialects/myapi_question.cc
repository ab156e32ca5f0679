#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "dialects/myapi.h"
#include "settings/biz_params.h"

namespace bailian {
namespace {

constexpr size_t kMaxImages = 16;

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

}  // namespace

Question parse_myapi_question(std::string_view body, const QuestionLimits& limits) {
  const JsonDocument document = parse_body(body);
  Question question;
  question.prompt = parse_prompt(find_member(document, "last_prompt"), limits.max_prompt_bytes);
  question.history = parse_history(find_member(document, "conversation_history"), question.prompt,
                                   limits.max_history_messages);
  const JsonValue* session = find_member(document, "session_id");
  if (is_string(session) && question.history.empty()) question.session_id = as_view(*session);
  question.image_urls = parse_image_urls(find_member(document, "image_urls"));
  question.biz_params_json = parse_biz_params(find_member(document, "biz_params"), limits.visitor_params);
  const JsonValue* thoughts = find_member(document, "include_thoughts");
  question.include_thoughts = thoughts != nullptr && thoughts->IsTrue();
  return question;
}

}  // namespace bailian
