#include "dashscope/answer_fields.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

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
    AnswerFields, NoAnswers,
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

TEST(AnswerFields, TokensAreThoseThatAreReportedHoweverMany) {
  std::string json =
      R"({"usage":{"models":[{"input_tokens":5000000001,"output_tokens":1048577},{"input_tokens":1,"output_tokens":0}]}})";
  const auto fields = parse_answer_fields(json);
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->usage.input_tokens, 5'000'000'002U);
  EXPECT_EQ(fields->usage.output_tokens, 1'048'577U);
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
    // Longer than a string's inline buffer, so that a sanitizer checks its end.
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

}  // namespace
}  // namespace bailian
