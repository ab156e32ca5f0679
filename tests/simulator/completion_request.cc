#include "completion_request.h"

#include <rapidjson/document.h>

#include <string>
#include <utility>

#include "api_error.h"

namespace bailian::simulator {
namespace {

using rapidjson::Document;
using rapidjson::Value;

constexpr std::size_t kMaxBodyBytes = 6U << 20U;

// Iterative, because a deep body must not overflow the stack. A NUL would end the text for RapidJSON.
bool parse(std::string_view text, Document& document) {
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(),
                                                                                         text.size());
  return !document.HasParseError() && text.find('\0') == std::string_view::npos;
}

const Value* member(const Value& object, const char* name) {
  if (!object.IsObject()) return nullptr;
  const auto found = object.FindMember(name);
  return found == object.MemberEnd() || found->value.IsNull() ? nullptr : &found->value;
}

std::string_view text_member(const Value& object, const char* name) {
  const Value* value = member(object, name);
  return value != nullptr && value->IsString()
             ? std::string_view(value->GetString(), value->GetStringLength())
             : std::string_view();
}

bool is_true(const Value& object, const char* name) {
  const Value* value = member(object, name);
  return value != nullptr && value->IsTrue();
}

[[noreturn]] void reject(const std::string& message) { throw ApiError(400, "InvalidParameter", message); }

[[noreturn]] void reject_message() {
  reject("Role must be user or assistant and Content length must be greater than 0");
}

std::string_view last_user_content(const Value& messages) {
  if (!messages.IsArray() || messages.Empty()) reject_message();
  for (const Value& message : messages.GetArray()) {
    const std::string_view role = text_member(message, "role");
    if (role != "system" && role != "user" && role != "assistant") reject_message();
    if (text_member(message, "content").empty()) reject_message();
  }
  const Value& last = messages[messages.Size() - 1];
  return text_member(last, "role") == "user" ? text_member(last, "content") : std::string_view();
}

// `prompt` follows `messages` as the last message of the user: contract.md §1.3.
std::string_view find_prompt(const Value& input) {
  const Value* prompt = member(input, "prompt");
  const Value* messages = member(input, "messages");
  if (prompt == nullptr && messages == nullptr) {
    reject(R"(Either "prompt" or "messages" must exist and cannot both be none)");
  }
  const std::string_view said = messages == nullptr ? std::string_view() : last_user_content(*messages);
  const std::string_view result = prompt == nullptr ? said : text_member(input, "prompt");
  if (result.empty()) reject_message();
  return result;
}

// The limits of contract.md §1.3.
void check_rag_options(const Value& options) {
  constexpr rapidjson::SizeType kMaxFiles = 100;
  constexpr rapidjson::SizeType kMaxSessionFiles = 10;
  if (!options.IsObject()) reject("rag_options must be an object");
  for (const auto& [name, most] :
       {std::pair{"file_ids", kMaxFiles}, std::pair{"session_file_ids", kMaxSessionFiles}}) {
    const Value* ids = member(options, name);
    if (ids == nullptr) continue;
    bool is_good = ids->IsArray() && ids->Size() <= most;
    if (is_good) {
      for (const Value& id : ids->GetArray()) is_good = is_good && id.IsString() && id.GetStringLength() > 0;
    }
    if (!is_good) reject(std::string(name) + " must be a list of at most " + std::to_string(most) + " ids");
  }
}

}  // namespace

bool is_json(std::string_view text) {
  Document document;
  return parse(text, document);
}

CompletionRequest parse_completion(std::string_view body, bool is_stream) {
  if (body.size() > kMaxBodyBytes) throw ApiError("BadRequest.TooLarge");
  Document document;
  if (!parse(body, document) || !document.IsObject()) throw ApiError("BadRequest.IllegalInput");
  const Value* input = member(document, "input");
  if (input == nullptr || !input->IsObject() || input->ObjectEmpty()) throw ApiError("BadRequest.EmptyInput");

  CompletionRequest request;
  request.prompt = find_prompt(*input);
  if (const Value* biz_params = member(*input, "biz_params");
      biz_params != nullptr && !biz_params->IsObject()) {
    reject("biz_params must be an object");
  }
  if (const Value* memory_id = member(*input, "memory_id"); memory_id != nullptr && !memory_id->IsString()) {
    reject("memory_id must be a string");
  }
  if (member(*input, "messages") == nullptr) request.session_id = text_member(*input, "session_id");
  const Value* parameters = member(document, "parameters");
  if (parameters == nullptr) return request;
  if (const Value* options = member(*parameters, "rag_options")) check_rag_options(*options);
  request.is_incremental = is_true(*parameters, "incremental_output");
  if (is_true(*parameters, "enable_thinking") && !is_stream) {
    reject("parameter.enable_thinking must be set to false for non-streaming calls");
  }
  return request;
}

}  // namespace bailian::simulator
