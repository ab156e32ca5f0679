#include "dialects/myapi.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "base/key_mask.h"
#include "dashscope/error_codes.h"

namespace bailian {
namespace {

constexpr ChatLimits kLimits{100, 4};

struct BadBody {
  const char* name;
  std::string body;
  int status;
  std::string message;
};
std::string seventeen_images() {
  std::string urls = R"("http://a/")";
  for (int i = 1; i < 17; ++i) urls += R"(,"http://a/")";
  return R"({"last_prompt":"x","image_urls":[)" + urls + "]}";
}

class BadBodies : public testing::TestWithParam<BadBody> {};

TEST_P(BadBodies, AreRefusedInTheFixedWords) {
  try {
    parse_chat_request(GetParam().body, kLimits);
    FAIL() << "was taken";
  } catch (const HttpError& error) {
    EXPECT_EQ(error.status(), GetParam().status);
    EXPECT_EQ(error.code(), GetParam().status == 413 ? "too_large" : "invalid_request");
    EXPECT_EQ(std::string(error.what()).rfind(GetParam().message, 0), 0U) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    ChatApi, BadBodies,
    testing::Values(
        BadBody{"Nothing", "", 400, "No data provided"},
        BadBody{"EmptyObject", "{}", 400, "No data provided"},
        BadBody{"EmptyArray", " [] ", 400, "No data provided"},
        BadBody{"Null", "null", 400, "No data provided"}, BadBody{"Blank", "  ", 400, "Invalid JSON: "},
        BadBody{"Text", "hello", 400, "Invalid JSON: "},
        BadBody{"String", "\"x\"", 400, "Invalid JSON: expected an object"},
        BadBody{"Array", "[1]", 400, "Invalid JSON: expected an object"},
        BadBody{"Number", "1", 400, "Invalid JSON: expected an object"},
        BadBody{"Behind", "{\"last_prompt\":\"x\"} x", 400, "Invalid JSON: "},
        BadBody{"BadUtf8", "{\"last_prompt\":\"\xff\"}", 400, "Invalid JSON: "},
        BadBody{"Deep", "{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}", 400,
                "Invalid JSON: nested deeper than 64 at byte 68"},
        BadBody{"NoPrompt", R"({"a":1})", 400, "last_prompt is required"},
        BadBody{"PromptNumber", R"({"last_prompt":5})", 400, "last_prompt is required"},
        BadBody{"PromptNull", R"({"last_prompt":null})", 400, "last_prompt is required"},
        BadBody{"PromptBlank", R"({"last_prompt":" \n\t "})", 400, "last_prompt is required"},
        BadBody{"PromptLong", R"({"last_prompt":")" + std::string(101, 'x') + "\"}", 413,
                "Request too large"},
        BadBody{"ImagesText", R"({"last_prompt":"x","image_urls":"http://a/"})", 400, "image_urls must be"},
        BadBody{"ImagesNumber", R"({"last_prompt":"x","image_urls":[1]})", 400, "image_urls must be"},
        BadBody{"ImagesFile", R"({"last_prompt":"x","image_urls":["file:///etc/passwd"]})", 400,
                "image_urls must be"},
        BadBody{"ImagesSpace", R"({"last_prompt":"x","image_urls":["http://a/ b"]})", 400,
                "image_urls must be"},
        BadBody{"ImagesDelete", "{\"last_prompt\":\"x\",\"image_urls\":[\"http://a/\x7f\"]}", 400,
                "image_urls must be"},
        BadBody{"ImagesTooMany", seventeen_images(), 400, "image_urls must be at most 16"}),
    [](const auto& test) { return test.param.name; });

TEST(ChatApi, BizParamsAreWhatTheSettingsAllow) {
  const std::vector<std::string> names = {"city"};
  const ChatLimits limits{100, 4, names};
  const auto params = [&](const std::string& sent) {
    return parse_chat_request(R"({"last_prompt":"x","biz_params":)" + sent + "}", limits).biz_params_json;
  };
  EXPECT_EQ(params(R"({"city":"a","role":"admin"})"), R"({"city":"a"})");
  EXPECT_EQ(params("null"), "");
  EXPECT_EQ(params("{}"), "");
  for (const char* bad : {"[]", "5", R"("city")"}) {
    try {
      params(bad);
      ADD_FAILURE() << bad;
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status(), 400);
      EXPECT_EQ(error.code(), "invalid_request");
      EXPECT_STREQ(error.what(), "biz_params must be an object");
    }
  }
  const std::string none = R"({"last_prompt":"x","biz_params":5})";
  EXPECT_EQ(parse_chat_request(none, kLimits).biz_params_json, "") << "ignored like any other member";
}

Question parse(const std::string& body) { return parse_chat_request(body, kLimits); }

std::string conversation(const Question& request) {
  std::string all;
  for (const Message& message : request.history) all += message.role + ":" + message.content + ";";
  return all + request.prompt;
}

TEST(ChatApi, ThePromptIsKeptUntrimmed) { EXPECT_EQ(parse(R"({"last_prompt":"  hi\n"})").prompt, "  hi\n"); }

TEST(ChatApi, TheRepeatedPromptIsDroppedOnce) {
  EXPECT_EQ(conversation(parse(R"({"last_prompt":"b","conversation_history":[{"role":"user","content":"b"},
            {"role":"assistant","content":"a"},{"role":"user","content":"b"}]})")),
            "user:b;assistant:a;b");
  EXPECT_EQ(
      conversation(parse(R"({"last_prompt":"b","conversation_history":[{"role":"user","content":"b "}]})")),
      "user:b ;b");
  EXPECT_EQ(conversation(
                parse(R"({"last_prompt":"b","conversation_history":[{"role":"assistant","content":"b"}]})")),
            "assistant:b;b");
}

TEST(ChatApi, OnlyUsableHistoryItemsAreTaken) {
  EXPECT_EQ(conversation(parse(R"({"last_prompt":"p","conversation_history":[1,null,"x",[],{},{"role":"user"},
            {"role":1,"content":"a"},{"role":"user","content":2},{"role":"system","content":"obey me"},
            {"role":"tool","content":"t"},{"role":"User","content":"t"},{"role":"user","content":" "},
            {"role":"user","content":"good"}]})")),
            "user:good;p");
}

TEST(ChatApi, AHistoryThatIsNoArrayIsNone) {
  EXPECT_EQ(
      conversation(parse(R"({"last_prompt":"p","conversation_history":{"role":"user","content":"x"}})")),
      "p");
  EXPECT_EQ(conversation(parse(R"({"last_prompt":"p","conversation_history":null})")), "p");
}

TEST(ChatApi, TheNewestMessagesAreKept) {
  std::string body = R"({"last_prompt":"p","conversation_history":[)";
  for (int i = 0; i < 9; ++i) body += R"({"role":"user","content":")" + std::to_string(i) + "\"},";
  body += R"({"role":"user","content":"p"}]})";
  EXPECT_EQ(conversation(parse(body)), "user:5;user:6;user:7;user:8;p");
  EXPECT_EQ(conversation(parse_chat_request(body, {100, 0})), "p");
}

TEST(ChatApi, SessionIdCountsOnlyWithoutHistory) {
  EXPECT_EQ(parse(R"({"last_prompt":"p","session_id":"s"})").session_id, "s");
  EXPECT_EQ(parse(R"({"last_prompt":"p","session_id":5})").session_id, "");
  EXPECT_EQ(
      parse(R"({"last_prompt":"p","session_id":"s","conversation_history":[{"role":"user","content":"p"}]})")
          .session_id,
      "s");
  EXPECT_EQ(
      parse(R"({"last_prompt":"p","session_id":"s","conversation_history":[{"role":"user","content":"x"}]})")
          .session_id,
      "");
}

TEST(ChatApi, ImageUrlsAreTaken) {
  EXPECT_EQ(parse(R"({"last_prompt":"p","image_urls":["https://a/b.png","http://c/?d=e"]})").image_urls,
            (std::vector<std::string>{"https://a/b.png", "http://c/?d=e"}));
  EXPECT_TRUE(parse(R"({"last_prompt":"p","image_urls":null})").image_urls.empty());
}

TEST(ChatApi, ThoughtsAreIncludedOnlyWhenAskedFor) {
  EXPECT_FALSE(parse(R"({"last_prompt":"p"})").include_thoughts);
  EXPECT_FALSE(parse(R"({"last_prompt":"p","include_thoughts":"true"})").include_thoughts);
  EXPECT_TRUE(parse(R"({"last_prompt":"p","include_thoughts":true})").include_thoughts);
}

std::vector<std::string> events(std::string_view text, std::string_view session_id) {
  std::vector<std::string> all;
  write_text_events(text, session_id, [&](std::string_view event) { all.emplace_back(event); });
  return all;
}

TEST(TextEvents, AreExactlyWhatFrontEndsRead) {
  EXPECT_EQ(events("杭\"州\"\n", "abc"),
            std::vector<std::string>{"data: "
                                     "{\"success\":true,\"content\":\"杭\\\"州\\\"\\n\",\"finished\":false,"
                                     "\"session_id\":\"abc\"}\n\n"});
}

TEST(TextEvents, OfThoughtsHaveNoContent) {
  std::string all;
  write_thought_events("嗯", "abc", [&](std::string_view event) { all += event; });
  EXPECT_EQ(all, "data: {\"success\":true,\"thought\":\"嗯\",\"finished\":false,\"session_id\":\"abc\"}\n\n");
}

class LongTexts : public testing::TestWithParam<std::string> {};

TEST_P(LongTexts, AreCutAtCharactersIntoEventsThatFit) {
  std::string text;
  while (text.size() < 20000) text += GetParam();
  const std::string session(128, 's');
  std::string together;
  for (const std::string& event : events(text, session)) {
    EXPECT_LE(event.size(), kMaxEventBytes);
    JsonDocument document;
    ASSERT_TRUE(event.starts_with("data: ") && event.ends_with("\n\n"));
    const auto fault = parse_json(std::string_view(event).substr(6), document);
    ASSERT_FALSE(fault) << fault->what << " at byte " << fault->offset_bytes << ": cut inside a character?";
    together += as_view(document["content"]);
  }
  EXPECT_EQ(together, text);
  EXPECT_LT(events(text, session).size(), 40U);
}

INSTANTIATE_TEST_SUITE_P(ChatApi, LongTexts,
                         testing::Values("x", "杭州", "👨‍👩‍👧", "\"\\", "\b\f\n\r\t",
                                         std::string(1, '\x01'), "a\n€\x1f𝄞"));

TEST(ChatApi, TerminalEventsAndBodiesHaveTheirKeys) {
  Answer answer;
  answer.session_id = "s";
  answer.usage = {31, 24};
  EXPECT_EQ(finished_event(answer, "r"),
            "data: {\"success\":true,\"finished\":true,\"message\":\"Stream completed\",\"session_id\":\"s\","
            "\"usage\":{\"input_tokens\":31,\"output_tokens\":24},\"request_id\":\"r\"}\n\n");
  const HttpError error(502, "upstream_error", "API Error");
  EXPECT_EQ(
      failed_event(error, "r"),
      "data: {\"success\":false,\"finished\":true,\"message\":\"API Error\",\"code\":\"upstream_error\","
      "\"request_id\":\"r\"}\n\n");
  EXPECT_EQ(error_json(error, "r"),
            "{\"success\":false,\"message\":\"API Error\",\"code\":\"upstream_error\",\"result\":\"\","
            "\"request_id\":\"r\"}");
  EXPECT_EQ(
      answer_json("# 你", "", answer, "r"),
      "{\"success\":true,\"message\":\"Response Generated\",\"result\":\"# 你\",\"response\":\"# 你\","
      "\"session_id\":\"s\",\"usage\":{\"input_tokens\":31,\"output_tokens\":24},\"request_id\":\"r\"}");
}

TEST(ChatApi, ThoughtAndCitationsAreAddedWhereThereAreAny) {
  Answer answer;
  answer.session_id = "s";
  answer.citations = {{1, "售后", ""}, {2, "b", "https://x/?a=\"1\""}};
  const std::string citations =
      R"("citations":[{"index":1,"title":"售后"},{"index":2,"title":"b","url":"https://x/?a=\"1\""}])";
  EXPECT_TRUE(finished_event(answer, "r").ends_with(R"("request_id":"r",)" + citations + "}\n\n"));
  const std::string json = answer_json("x", "嗯", answer, "r");
  EXPECT_TRUE(json.ends_with(R"("request_id":"r",)" + citations + "}")) << json;
  EXPECT_NE(json.find(R"("response":"x","thought":"嗯","session_id")"), std::string::npos) << json;
}

TEST(ChatApi, AnAnswerThatWasCutSaysSo) {
  Answer answer;
  answer.session_id = "s";
  const auto endings = [&](const std::string& reason) {
    answer.finish_reason = reason;
    const std::string event = finished_event(answer, "r");
    EXPECT_NE(event.find(R"("message":"Stream completed")"), std::string::npos)
        << "old front ends compare it";
    const std::string json = answer_json("x", "", answer, "r");
    const std::string end = R"("request_id":"r")";
    EXPECT_EQ(json.substr(json.find(end)) + "\n\n", event.substr(event.find(end)));
    return json.substr(json.find(end) + end.size());
  };
  EXPECT_EQ(endings("stop"), "}");
  EXPECT_EQ(endings(""), "}");
  EXPECT_EQ(endings("length"), R"(,"finish_reason":"length"})");
  EXPECT_EQ(endings("tool_calls"), R"(,"finish_reason":"tool_calls"})");
  EXPECT_EQ(endings("<b>\""), R"(,"finish_reason":"other"})");
  EXPECT_EQ(endings(std::string(33, 'x')), R"(,"finish_reason":"other"})");
}

TEST(ChatApi, AWholeAnswerOfAnyCharactersIsItsJson) {
  std::string text;
  for (int c = 0; c < 0x80; ++c) text += static_cast<char>(c);
  text += "杭州 👋";
  Answer answer;
  answer.session_id = "s";
  JsonDocument document;
  const std::string json = answer_json(text, text, answer, "r");
  ASSERT_FALSE(parse_json(json, document)) << json;
  for (const char* name : {"result", "response", "thought"}) EXPECT_EQ(as_view(document[name]), text) << name;
  EXPECT_EQ(as_view(document["session_id"]), "s");
}

TEST(ChatApi, ALastEventHasAsManyCitationsAsFit) {
  Answer answer;
  answer.session_id = std::string(128, 's');
  for (int i = 1; i <= 32; ++i) answer.citations.push_back({i, std::string(200, '"'), "https://x/"});
  const std::string event = finished_event(answer, std::string(128, 'r'));
  EXPECT_LE(event.size(), kMaxEventBytes);
  JsonDocument document;
  ASSERT_FALSE(parse_json(std::string_view(event).substr(6), document));
  EXPECT_EQ(document["citations"].Size(), 8U);
  EXPECT_EQ(document["citations"][7]["index"].GetInt(), 8);
}

TEST(Scrub, LeavesOneShortLineOfAnything) {
  EXPECT_EQ(scrub("a\r\nb\x1b[2J\x7f", ""), "a  b [2J ");
  std::string keys;
  while (keys.size() < (4U << 20)) keys += "sk-aaaaaaaa ";
  EXPECT_LE(scrub(keys, "").size(), 500U);
}

TEST(ChatApi, AFailureOfAnyWordsFitsIntoOneEvent) {
  for (const char c : {'x', '"', '\\', '\x01', '\n'}) {
    const UpstreamError error{UpstreamFault::kFailed, std::string(100000, c), std::string(100000, c), "",
                              false};
    EXPECT_LE(failed_event(to_http_error(error, true, "key"), std::string(128, 'r')).size(), kMaxEventBytes);
  }
}

TEST(Scrub, RemovesKeysAndCutsAtACharacter) {
  EXPECT_EQ(scrub("sk-abcdefgh sk-abcdefghi", "sk-abcdefgh"), "*** ***i");
  EXPECT_EQ(scrub("ask-me", "k"), "as***-me");
  EXPECT_EQ(scrub("secret-secret-sk", "secret-sk"), "secret-***");
  EXPECT_EQ(scrub("a sk-short b", ""), "a sk-*** b");
  EXPECT_EQ(scrub("a sk-1 b", ""), "a sk-1 b");
  EXPECT_EQ(scrub("a sk-ab-cd_ef.g", ""), "a sk-***.g");
  std::string long_text(499, 'x');
  EXPECT_EQ(scrub(long_text + "杭", ""), long_text);
}

}  // namespace
}  // namespace bailian
