#include "dashscope/api.h"

#include <string_view>
#include <utility>

#include "base/json.h"
#include "settings/biz_params.h"

namespace bailian {
namespace {

void write_message(JsonWriter& writer, std::string_view role, std::string_view content) {
  writer.StartObject();
  write_member(writer, "role", role);
  write_member(writer, "content", content);
  writer.EndObject();
}

void write_input(JsonWriter& writer, const Question& chat, const Config& config) {
  writer.StartObject();
  const bool prompt_alone =
      !chat.session_id.empty() || (chat.history.empty() && config.system_prompt.empty());
  if (prompt_alone) {
    write_member(writer, "prompt", chat.prompt);
    if (!chat.session_id.empty()) write_member(writer, "session_id", chat.session_id);
  } else {
    writer.Key("messages");
    writer.StartArray();
    if (!config.system_prompt.empty()) write_message(writer, "system", config.system_prompt);
    for (const Message& message : chat.history) write_message(writer, message.role, message.content);
    write_message(writer, "user", chat.prompt);
    writer.EndArray();
  }
  if (!chat.image_urls.empty()) {
    writer.Key("image_list");
    writer.StartArray();
    for (const std::string& url : chat.image_urls) write_string(writer, url);
    writer.EndArray();
  }
  const std::string& memory_id = chat.memory_id.empty() ? config.memory_id : chat.memory_id;
  if (!memory_id.empty()) write_member(writer, "memory_id", memory_id);
  const std::string biz_params = merged_biz_params(config.biz_params_json, chat.biz_params_json);
  if (!biz_params.empty()) {
    writer.Key("biz_params");
    writer.RawValue(biz_params.data(), biz_params.size(), rapidjson::kObjectType);
  }
  writer.EndObject();
}

// Adds the visitor's files to the operator's options, unless these have some.
void add_files(JsonDocument& parameters, const std::vector<std::string>& file_ids) {
  if (file_ids.empty()) return;
  auto& pool = parameters.GetAllocator();
  if (find_member(parameters, "rag_options") == nullptr)
    parameters.AddMember("rag_options", JsonValue(rapidjson::kObjectType), pool);
  JsonValue& options = parameters["rag_options"];
  if (!options.IsObject() || options.HasMember("session_file_ids")) return;
  JsonValue ids(rapidjson::kArrayType);
  for (const std::string& id : file_ids)
    ids.PushBack(JsonValue(id.data(), static_cast<rapidjson::SizeType>(id.size()), pool), pool);
  options.AddMember("session_file_ids", ids, pool);
}

// The operator's parameters override ours.
void write_parameters(JsonWriter& writer, const Question& chat, const Config& config, AnswerMode mode) {
  JsonDocument chosen;
  chosen.Parse(config.parameters_json);
  add_files(chosen, chat.file_ids);
  const auto write_default = [&](const char* key, auto write) {
    if (chosen.HasMember(key)) return;
    writer.Key(key);
    write();
  };
  writer.StartObject();
  if (mode == AnswerMode::kStream) {
    write_default("incremental_output", [&] { writer.Bool(true); });
    // Makes a workflow stream its text as an agent does. Agents ignore it.
    write_default("flow_stream_mode", [&] { writer.String("agent_format"); });
  }
  if (!config.temperature.empty()) {
    write_default("temperature", [&] {
      writer.RawValue(config.temperature.data(), config.temperature.size(), rapidjson::kNumberType);
    });
  }
  for (const auto& member : chosen.GetObject()) {
    const std::string_view key = as_view(member.name);
    // Thinking models reject enable_thinking in calls that do not stream, with 400 InvalidParameter.
    if (mode == AnswerMode::kJson && (key == "enable_thinking" || key == "incremental_output")) continue;
    writer.Key(member.name.GetString(), member.name.GetStringLength());
    member.value.Accept(writer);
  }
  writer.EndObject();
}

}  // namespace

std::string completion_body(const Question& chat, const Config& config, AnswerMode mode) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  writer.Key("input");
  write_input(writer, chat, config);
  writer.Key("parameters");
  write_parameters(writer, chat, config, mode);
  writer.Key("debug");
  writer.StartObject();
  writer.EndObject();
  writer.EndObject();
  return std::string(written(buffer));
}

}  // namespace bailian
