#include "dashscope/api.h"

#include <gtest/gtest.h>

#include <string>

#include "dashscope/answer_fields.h"
#include "dashscope/error_codes.h"

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

struct NoAnswer {
  const char* name;
  std::string json;
};
class NoAnswers : public testing::TestWithParam<NoAnswer> {};

TEST_P(NoAnswers, AreRefused) {
  std::string json = GetParam().json;
  EXPECT_FALSE(parse_answer_fields(json));
}

INSTANTIATE_TEST_SUITE_P(
    DashScopeApi, NoAnswers,
    testing::Values(NoAnswer{"Empty", ""}, NoAnswer{"Blank", " "}, NoAnswer{"Array", "[{}]"},
                    NoAnswer{"Text", "\"x\""}, NoAnswer{"Null", "null"},
                    NoAnswer{"Cut", R"({"output":{"text":"a)"}, NoAnswer{"Behind", "{}{}"},
                    NoAnswer{"Nul", std::string("{}\0x", 4)},
                    NoAnswer{"BadUtf8", "{\"output\":{\"text\":\"\xff\"}}"},
                    NoAnswer{"Deep", "{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}"},
                    NoAnswer{"VeryDeep", "{\"a\":" + std::string(1000000, '[')},
                    NoAnswer{"BadEscape", R"({"a":"\uZZZZ"})"}, NoAnswer{"CutEscape", R"({"a":"\ud8)"},
                    NoAnswer{"CutBehindAnEscape", R"({"a":"\ud83d)"},
                    NoAnswer{"BadEscapesBesideASurrogate", R"({"a":"\ud83d\uzzzz\u1zzz"})"},
                    NoAnswer{"HugeNumber", R"({"a":1e999})"}),
    [](const auto& test) { return test.param.name; });

TEST(AnswerFields, AreFoundAtTheirPlacesOnly) {
  std::string json =
      R"({"text":"no","usage":{"models":[{"output_tokens":2,"model":"no","model_id":"qwen","input_tokens":3},{"input_tokens":10,"output_tokens":20,"model_id":"b"}],"text":"no","other":{"input_tokens":5}},)"
      R"("output":{"thoughts":[{"text":"no","finish_reason":"no"}],"text":"yes","finish_reason":"stop","session_id":"s",)"
      R"("doc_references":[{"text":"no"}],"workflow_message":{"node_type":"End","text":"no","other":{"content":"no"},"message":{"content":"w","role":"assistant"}}},"request_id":"r"})";
  const auto fields = parse_answer_fields(json);
  ASSERT_TRUE(fields);
  EXPECT_TRUE(fields->has_output);
  EXPECT_EQ(fields->text, "yes");
  EXPECT_EQ(fields->workflow_text, "w");
  EXPECT_EQ(fields->workflow_node_type, "End");
  EXPECT_EQ(fields->finish_reason, "stop");
  EXPECT_EQ(fields->session_id, "s");
  EXPECT_EQ(fields->request_id, "r");
  EXPECT_EQ(fields->model, "qwen");
  EXPECT_TRUE(fields->has_usage);
  EXPECT_EQ(fields->usage.input_tokens, 13U);
  EXPECT_EQ(fields->usage.output_tokens, 22U);
}

TEST(AnswerFields, OnlyTheModelsOwnThoughtIsTaken) {
  std::string json =
      R"({"output":{"thoughts":[{"action_type":"agentRag","thought":"no","response":"no"},)"
      R"({"thought":"a","response":"a","action_type":"reasoning","action_input":{"thought":"no"}},)"
      R"({"response":"{}"},{"thought":null,"action_type":"reasoning"},"no",)"
      R"({"action_type":"reasoning","thought":"b"}],"text":""}})";
  const auto fields = parse_answer_fields(json);
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->thought, "ab");
}

TEST(AnswerFields, ReferencesAreReadWhateverTheirOrderAndTypes) {
  std::string json =
      R"({"output":{"doc_references":[{"index_id":"1","title":"t","doc_name":"n","doc_url":"https://a/"},)"
      R"({"doc_name":"n","index_id":2,"images":["x"]},{"doc_name":"n","title":"t","index_id":"x3"},{"index_id":-1},)"
      R"({"index_id":"3x"},{"index_id":"10000"},{"index_id":10000,"page":5}]}})";
  const auto fields = parse_answer_fields(json);
  ASSERT_TRUE(fields);
  ASSERT_EQ(fields->references.size(), 7U);
  EXPECT_EQ(fields->references[0].index, 1);
  EXPECT_EQ(fields->references[0].title, "t");
  EXPECT_EQ(fields->references[0].url, "https://a/");
  EXPECT_EQ(fields->references[1].index, 2);
  EXPECT_EQ(fields->references[1].title, "n");
  EXPECT_EQ(fields->references[2].index, 0);
  EXPECT_EQ(fields->references[2].title, "t");
  for (size_t i = 3; i < 7; ++i) EXPECT_EQ(fields->references[i].index, 0) << i;
}

TEST(AnswerFields, OtherTypesThanExpectedArePassedOver) {
  std::string json =
      R"({"output":{"text":7,"finish_reason":null,"session_id":{},"workflow_message":"x","doc_references":7,"thoughts":null},"usage":null,"request_id":5,"code":[]})";
  const auto fields = parse_answer_fields(json);
  ASSERT_TRUE(fields);
  EXPECT_TRUE(fields->has_output);
  EXPECT_FALSE(fields->text);
  EXPECT_EQ(fields->finish_reason, "");
  EXPECT_FALSE(fields->has_usage);
  EXPECT_EQ(fields->code, "");
}

TEST(AnswerFields, TheWordNullIsNoFinishReason) {
  std::string json = R"({"output":{"finish_reason":"null","text":""}})";
  EXPECT_EQ(parse_answer_fields(json)->finish_reason, "");
}

TEST(AnswerFields, ErrorsAreReadInEverySpelling) {
  for (std::string json :
       {R"({"code":"C","message":"m","request_id":"r"})", R"({"code":"C","msg":"m","requestId":"r"})",
        R"({"error":{"code":"C","message":"m","type":"t"},"request_id":"r"})"}) {
    const auto fields = parse_answer_fields(json);
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->code, "C");
    EXPECT_EQ(fields->message, "m");
    EXPECT_EQ(fields->request_id, "r");
    EXPECT_FALSE(fields->has_output);
  }
}

TEST(AnswerFields, ATextThatEndsInMidCharacterIsReadNoFurther) {
  for (const std::string_view start : {"\xc3", "\xe6", "\xf0", "\xf0\x9f"}) {
    // Longer than what a string holds within itself, so that a sanitizer watches its end.
    std::string json = R"({"output":{"text":"longer than that)";
    json += start;
    json.shrink_to_fit();
    EXPECT_FALSE(parse_answer_fields(json));
  }
}

TEST(AnswerFields, LoneSurrogatesBecomeReplacementCharacters) {
  const auto text_of = [](std::string json) {
    const auto fields = parse_answer_fields(json);
    return fields && fields->text ? std::string(*fields->text) : "no answer";
  };
  EXPECT_EQ(text_of(R"({"output":{"text":"a\ud83db"}})"), "a\uFFFDb");
  EXPECT_EQ(text_of(R"({"output":{"text":"\udc4b"}})"), "\uFFFD");
  EXPECT_EQ(text_of(R"({"output":{"text":"\ud83d\ud83d\udc4b"}})"), "\uFFFD👋");
  EXPECT_EQ(text_of(R"({"output":{"text":"\ud83d\udc4b"}})"), "👋");
  EXPECT_EQ(text_of(R"({"output":{"text":"\uD83D\uFF01"}})"), "\uFFFD！");
  EXPECT_EQ(text_of(R"({"output":{"text":"\\ud83d \\\ud83d"}})"), "\\ud83d \\\uFFFD");
}

struct Code {
  int status;
  std::string code;
  std::string message;
  UpstreamFault fault;
  bool retryable;
};
class Codes : public testing::TestWithParam<Code> {};

TEST_P(Codes, MeanWhatTheDocumentationSays) {
  const Code& code = GetParam();
  const UpstreamError error = classify_error(code.status, code.code, code.message, "r");
  EXPECT_EQ(error.fault, code.fault) << code.code << " " << code.message;
  EXPECT_EQ(error.retryable, code.retryable) << code.code << " " << code.message;
  EXPECT_EQ(error.code, code.code);
  EXPECT_EQ(error.request_id, "r");
}

using F = UpstreamFault;
INSTANTIATE_TEST_SUITE_P(
    DashScopeApi, Codes,
    testing::Values(
        Code{401, "InvalidApiKey", "Invalid API-key provided.", F::kAuth, false},
        Code{401, "NOT AUTHORIZED", "", F::kAuth, false}, Code{401, "", "", F::kAuth, false},
        Code{403, "App.AccessDenied", "App access denied.", F::kApp, false},
        Code{403, "AccessDenied", "", F::kApp, false},
        Code{403, "Workspace.AccessDenied", "", F::kApp, false},
        Code{404, "WorkSpaceNotFound", "", F::kApp, false}, Code{400, "InvalidAppId", "", F::kApp, false},
        Code{400, "FlowNotPublished", "", F::kApp, false},
        Code{400, "InvalidParameter", "AppId is not valid", F::kApp, false},
        Code{400, "InvalidParameter", "app_id is not valid", F::kApp, false},
        Code{403, "", "", F::kApp, false}, Code{404, "", "", F::kApp, false},
        Code{400, "InvalidParameter", "Required parameter(s) missing", F::kFailed, false},
        Code{400, "DataInspectionFailed", "", F::kRejected, false},
        Code{400, "InternalError.Algo.DataInspectionFailed", "", F::kRejected, false},
        Code{500, "InternalError.Algo", "<400> InternalError.Algo.DataInspectionFailed: Output data",
             F::kRejected, false},
        Code{400, "FaqRuleBlocked", "", F::kRejected, false},
        Code{400, "BadRequest.TooLarge", "", F::kTooLarge, false}, Code{413, "", "", F::kTooLarge, false},
        Code{400, "BadRequest.EmptyInput", "", F::kFailed, false},
        Code{429, "Throttling", "", F::kThrottled, true},
        Code{429, "Throttling.RateQuota", "", F::kThrottled, true},
        Code{429, "Throttling.BurstRate", "", F::kThrottled, true},
        Code{429, "LimitRequests", "", F::kThrottled, true},
        Code{429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase", F::kThrottled,
             true},
        Code{429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", F::kQuota, false},
        Code{429, "CommodityNotPurchased", "", F::kQuota, false},
        Code{429, "PrepaidBillOverdue", "", F::kQuota, false},
        Code{429, "PostpaidBillOverdue", "", F::kQuota, false}, Code{400, "Arrearage", "", F::kQuota, false},
        Code{403, "AllocationQuota.FreeTierOnly", "", F::kQuota, false},
        Code{429, "Throttling.RateQuota",
             "The budget configured in Budget Management has been exhausted. You will be unable to make "
             "further API calls until the budget limit is increased or reset.",
             F::kQuota, false},
        Code{429, "", "您在「预算管理」中设置的预算额度已用尽。", F::kQuota, false},
        Code{429, "insufficient_quota", "Budget Management", F::kQuota, false},
        Code{200, "Unheard", "Budget Management", F::kQuota, false},
        Code{400, "InvalidParameter", "Budget Management", F::kFailed, false},
        Code{400, "DataInspectionFailed", "预算管理", F::kRejected, false},
        Code{429, "insufficient_quota",
             "You exceeded your current quota, please check your plan and billing details.", F::kThrottled,
             true},
        Code{429, "insufficient_quota", "Free allocated quota exceeded.", F::kQuota, false},
        Code{429, "limit_requests", "", F::kThrottled, true},
        Code{429, "rate_limit_exceeded", "", F::kThrottled, true},
        Code{401, "invalid_api_key", "Incorrect API key provided.", F::kAuth, false},
        Code{403, "access_denied", "", F::kApp, false},
        Code{403, "access_denied", "Access denied, please make sure your account is in good standing.",
             F::kQuota, false},
        Code{403, "AccessDenied", "please make sure your account is in good standing", F::kQuota, false},
        Code{404, "model_not_found", "", F::kApp, false},
        Code{400, "data_inspection_failed", "", F::kRejected, false},
        Code{400, "arrearage", "", F::kQuota, false},
        Code{400, "invalid_parameter_error", "AppId is not valid", F::kApp, false},
        Code{400, "invalid_parameter_error", "Required parameter(s) missing", F::kFailed, false},
        Code{429, "Unheard", "", F::kThrottled, true}, Code{500, "RequestTimeOut", "", F::kTimeout, false},
        Code{408, "", "", F::kTimeout, false}, Code{500, "InternalError", "", F::kFailed, false},
        Code{500, "InternalError.Timeout", "", F::kFailed, false},
        Code{503, "ModelServingError", "", F::kThrottled, false}, Code{503, "", "", F::kFailed, false},
        Code{429, "ModelServingError", "", F::kThrottled, true},
        Code{200, "Throttling.RateQuota", "", F::kThrottled, true},
        Code{500, "InternalError.Algo.Throttling", "", F::kThrottled, false},
        Code{400, "ServiceUnavailableError", "", F::kFailed, false}, Code{200, "", "", F::kFailed, false},
        Code{307, "", "", F::kFailed, false}, Code{0, "Unheard", "<", F::kFailed, false},
        Code{400, "Unheard", "<400> Unheard2: x", F::kFailed, false}));

TEST(DashScopeApi, AnAliasIsCountedAsItsCode) {
  EXPECT_EQ(error_label("invalid_api_key"), "InvalidApiKey");
  EXPECT_EQ(error_label("access_denied"), "AccessDenied");
  EXPECT_EQ(error_label("limit_requests"), "LimitRequests");
  EXPECT_EQ(error_label("internal_error"), "InternalError");
  EXPECT_EQ(error_label("insufficient_quota"), "insufficient_quota");
  EXPECT_EQ(error_label("invalid_parameter_error"), "invalid_parameter_error");
  EXPECT_EQ(error_label("invalid_api_keys"), "other");
  EXPECT_EQ(error_label("_"), "other");
}

}  // namespace
}  // namespace bailian
