// A chat request is refused with a reply that can be sent, or becomes a request that the upstream can read.
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "dashscope/api.h"
#include "dialects/myapi.h"
#include "fuzz.h"

namespace bailian {
namespace {

constexpr size_t kMaxMessageBytes = 200;

void check_refusal(const HttpError& error) {
  fuzz::expect(error.status() == 400 || error.status() == 413, "a refusal is a 400 or a 413");
  const std::string message = error.what();
  fuzz::expect(!message.empty() && message.size() <= kMaxMessageBytes, "a refusal has a short message");
  JsonDocument reply;
  fuzz::expect(!parse_json(kMyapi.refuse(error, "id", {}).body, reply), "a refusal is JSON");
  fuzz::expect(as_view(*find_member(reply, "message")) == message, "a refusal says why");
}

void check_chat(const Question& chat, const QuestionLimits& limits) {
  fuzz::expect(!chat.prompt.empty() && chat.prompt.size() <= limits.max_prompt_bytes,
               "a prompt is under its limit");
  fuzz::expect(chat.history.size() <= limits.max_history_messages, "a history is under its limit");
  for (const Message& message : chat.history) {
    fuzz::expect(message.role == "user" || message.role == "assistant", "a visitor speaks as nobody else");
    fuzz::expect(message.content.find_first_not_of(" \t\r\n\f\v") != std::string::npos,
                 "a message is not blank");
  }
  fuzz::expect(chat.session_id.empty() || chat.history.empty(), "there is one history");
  for (const std::string& url : chat.image_urls) {
    fuzz::expect(url.starts_with("http://") || url.starts_with("https://"), "an image is on the web");
  }
}

// The conversation as the upstream reads it; the prompt alone is a conversation of one message.
void check_body(const Question& chat, const Config& config, AnswerMode mode) {
  JsonDocument body;
  fuzz::expect(!parse_json(completion_body(chat, config, mode), body), "the upstream's request is JSON");
  const JsonValue& input = body["input"];
  if (const JsonValue* params = find_member(input, "biz_params")) {
    fuzz::expect(params->IsObject(), "what the application takes is an object");
    const bool is_fixed = config.biz_params_json != "{}";
    fuzz::expect(!is_fixed || (*params)["city"] == 1, "the operator outweighs the visitor");
    for (const auto& member : params->GetObject()) {
      const std::string_view name = as_view(member.name);
      fuzz::expect(name == "city" || name == "user_defined_params" || name == "user_prompt_params",
                   "a visitor sends what is allowed");
    }
  }
  const JsonValue* messages = find_member(input, "messages");
  if (messages == nullptr) {
    fuzz::expect(chat.history.empty() && as_view(input["prompt"]) == chat.prompt, "the prompt is sent");
    return;
  }
  fuzz::expect(!input.HasMember("prompt") && !input.HasMember("session_id"), "there is one history");
  const rapidjson::SizeType system = config.system_prompt.empty() ? 0 : 1;
  fuzz::expect(messages->Size() == system + chat.history.size() + 1, "every message is sent");
  for (rapidjson::SizeType i = 0; i < messages->Size(); ++i) {
    const std::string_view role = as_view((*messages)[i]["role"]);
    fuzz::expect((role == "system") == (i < system), "only the site speaks as system");
  }
  fuzz::expect(as_view((*messages)[messages->Size() - 1]["content"]) == chat.prompt,
               "the prompt is sent last");
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  auto random = fuzz::choices_for(text);
  static const std::vector<std::string> names = {"city", "user_defined_params", "user_prompt_params.a"};
  const QuestionLimits limits = {size_t{8} << random() % 8, random() % 5,
                                 std::span(names).first(random() % (names.size() + 1))};
  Config config;
  config.biz_params_json = random() % 2 == 0 ? "{}" : R"({"city":1,"user_prompt_params":{"b":2}})";
  config.parameters_json = random() % 2 == 0 ? "{}" : R"({"top_p":0.5,"enable_thinking":true})";
  config.system_prompt = random() % 2 == 0 ? "" : "say \"hello\"";
  config.temperature = random() % 2 == 0 ? "" : "0.7";
  Request request;
  request.body = text;
  try {
    const Question chat =
        kMyapi.parse(request, random() % 2 == 0 ? "/chat" : "/chat/stream", limits).question;
    check_chat(chat, limits);
    check_body(chat, config, chat.mode);
  } catch (const HttpError& error) {
    check_refusal(error);
  }
  return 0;
}
