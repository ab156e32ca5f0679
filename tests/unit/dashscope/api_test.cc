#include "dashscope/api.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

Config config_with(const std::string& system_prompt, const std::string& temperature,
                   const std::string& parameters) {
  Config config;
  config.system_prompt = system_prompt;
  config.temperature = temperature;
  config.parameters_json = parameters;
  return config;
}

Question ask(const std::string& prompt) {
  Question chat;
  chat.prompt = prompt;
  return chat;
}

TEST(CompletionBody, SendsTheConversationAsMessages) {
  Question chat = ask("你好 \"x\"");
  chat.history = {{"user", "a"}, {"assistant", "b"}};
  EXPECT_EQ(
      completion_body(chat, config_with("be kind", "0.7", "{}"), AnswerMode::kStream),
      R"({"input":{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a"},)"
      R"({"role":"assistant","content":"b"},{"role":"user","content":"你好 \"x\""}]},)"
      R"("parameters":{"incremental_output":true,"flow_stream_mode":"agent_format","temperature":0.7},"debug":{}})");
}

TEST(CompletionBody, SendsThePromptAloneWithASession) {
  Question chat = ask("q");
  chat.session_id = "s";
  EXPECT_EQ(completion_body(chat, config_with("be kind", "", "{}"), AnswerMode::kJson),
            R"({"input":{"prompt":"q","session_id":"s"},"parameters":{},"debug":{}})");
}

TEST(CompletionBody, SendsThePromptAloneWhenThereIsNothingElse) {
  EXPECT_EQ(completion_body(ask("q"), config_with("", "", "{}"), AnswerMode::kJson),
            R"({"input":{"prompt":"q"},"parameters":{},"debug":{}})");
}

TEST(CompletionBody, SendsImages) {
  Question chat = ask("q");
  chat.image_urls = {"https://a/b"};
  EXPECT_EQ(completion_body(chat, config_with("", "", "{}"), AnswerMode::kJson),
            R"({"input":{"prompt":"q","image_list":["https://a/b"]},"parameters":{},"debug":{}})");
}

TEST(CompletionBody, SendsBizParamsOfTheOperatorAndTheVisitor) {
  Question chat = ask("q");
  Config config = config_with("", "", "{}");
  config.biz_params_json = R"({"a":1})";
  chat.biz_params_json = R"({"a":2,"b":3})";
  EXPECT_EQ(completion_body(chat, config, AnswerMode::kJson),
            R"({"input":{"prompt":"q","biz_params":{"a":1,"b":3}},"parameters":{},"debug":{}})");
}

TEST(CompletionBody, SendsTheMemoryOfTheVisitorOrTheOperators) {
  Config config = config_with("", "", "{}");
  config.memory_id = "shared";
  Question chat = ask("q");
  EXPECT_EQ(completion_body(chat, config, AnswerMode::kJson),
            R"({"input":{"prompt":"q","memory_id":"shared"},"parameters":{},"debug":{}})");
  chat.memory_id = "own";
  EXPECT_EQ(completion_body(chat, config, AnswerMode::kJson),
            R"({"input":{"prompt":"q","memory_id":"own"},"parameters":{},"debug":{}})");
}

TEST(CompletionBody, SendsTheVisitorsFilesWithTheOperatorsRagOptions) {
  Question chat = ask("q");
  chat.file_ids = {"f1", "f2"};
  const auto parameters = [&](const std::string& operators) {
    const std::string body = completion_body(chat, config_with("", "", operators), AnswerMode::kJson);
    const size_t start = body.find("\"parameters\":") + 13;
    return body.substr(start, body.find(",\"debug\"") - start);
  };
  EXPECT_EQ(parameters("{}"), R"({"rag_options":{"session_file_ids":["f1","f2"]}})");
  EXPECT_EQ(parameters(R"({"rag_options":{"pipeline_ids":["p"]}})"),
            R"({"rag_options":{"pipeline_ids":["p"],"session_file_ids":["f1","f2"]}})");
  const std::string own = R"({"rag_options":{"session_file_ids":["mine"]}})";
  EXPECT_EQ(parameters(own), own) << "the operator's take precedence";
  EXPECT_EQ(parameters(R"({"rag_options":null})"), R"({"rag_options":null})");
  chat.file_ids.clear();
  EXPECT_EQ(parameters("{}"), "{}");
}

TEST(CompletionBody, LetsTheOperatorsParametersWin) {
  EXPECT_EQ(
      completion_body(
          ask("q"),
          config_with("", "0.7", R"({"temperature":1,"incremental_output":false,"rag_options":{"a":[1]}})"),
          AnswerMode::kStream),
      R"({"input":{"prompt":"q"},"parameters":{"flow_stream_mode":"agent_format","temperature":1,)"
      R"("incremental_output":false,"rag_options":{"a":[1]}},"debug":{}})");
}

TEST(CompletionBody, AsksForNoThinkingWhereItIsRefused) {
  const Config config =
      config_with("", "", R"({"enable_thinking":true,"incremental_output":true,"top_p":0.5})");
  EXPECT_EQ(completion_body(ask("q"), config, AnswerMode::kJson),
            R"({"input":{"prompt":"q"},"parameters":{"top_p":0.5},"debug":{}})");
  EXPECT_NE(completion_body(ask("q"), config, AnswerMode::kStream).find(R"("enable_thinking":true)"),
            std::string::npos);
}

}  // namespace
}  // namespace bailian
