#include "dialects/myapi.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "dashscope/error_codes.h"

namespace bailian {
namespace {

constexpr QuestionLimits kLimits{100, 4};
constexpr std::string_view kWholePath = "/myapi/v1/chat-bot";
constexpr std::string_view kStreamPath = "/myapi/v1/chat-bot/stream";

ParsedRequest parse_request(const std::string& body, std::string_view path = kWholePath,
                            const QuestionLimits& limits = kLimits) {
  Request request;
  request.body = body;
  request.request_id = "r";
  return kMyapi.parse(request, path, limits);
}

Question parse(const std::string& body, const QuestionLimits& limits = kLimits) {
  return parse_request(body, kWholePath, limits).question;
}

struct BadBody {
  const char* name;
  std::string body;
  int status;
  std::string message;
};
std::string with_images(int number) {
  std::string urls = R"("http://a/")";
  for (int i = 1; i < number; ++i) urls += R"(,"http://a/")";
  return R"({"last_prompt":"x","image_urls":[)" + urls + "]}";
}

class BadBodies : public testing::TestWithParam<BadBody> {};

TEST_P(BadBodies, AreRefusedInTheFixedWords) {
  try {
    parse(GetParam().body);
    FAIL() << "was taken";
  } catch (const HttpError& error) {
    EXPECT_EQ(error.status(), GetParam().status);
    EXPECT_EQ(error.code(), GetParam().status == 413 ? "too_large" : "invalid_request");
    EXPECT_EQ(std::string(error.what()).rfind(GetParam().message, 0), 0U) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Myapi, BadBodies,
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
        BadBody{"ImagesTooMany", with_images(17), 400, "image_urls must be at most 16"}),
    [](const auto& test) { return test.param.name; });

TEST(Myapi, BizParamsAreWhatTheSettingsAllow) {
  const std::vector<std::string> names = {"city"};
  const QuestionLimits limits{100, 4, names};
  const auto params = [&](const std::string& sent) {
    return parse(R"({"last_prompt":"x","biz_params":)" + sent + "}", limits).biz_params_json;
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
  EXPECT_EQ(parse(none).biz_params_json, "") << "ignored like any other member";
}

TEST(Myapi, AMemoryAndFilesAreTakenOnlyIfTheSettingsAllowThem) {
  const std::string body = R"({"last_prompt":"x","memory_id":"m","file_ids":["a","b"]})";
  EXPECT_EQ(parse(body).memory_id, "");
  EXPECT_TRUE(parse(body).file_ids.empty());
  const std::vector<std::string> names = {"memory_id", "file_ids"};
  const QuestionLimits limits{100, 4, names};
  EXPECT_EQ(parse(body, limits).memory_id, "m");
  EXPECT_EQ(parse(body, limits).file_ids, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parse(R"({"last_prompt":"x","memory_id":null,"file_ids":null})", limits).memory_id, "");
  const std::string longest(128, 'x');
  EXPECT_EQ(parse(R"({"last_prompt":"x","memory_id":")" + longest + "\"}", limits).memory_id, longest);

  const auto refusal = [&](const std::string& members) -> std::string {
    try {
      parse(R"({"last_prompt":"x",)" + members + "}", limits);
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status(), 400);
      EXPECT_EQ(error.code(), "invalid_request");
      return error.what();
    }
    return "taken";
  };
  for (const std::string& bad : {std::string("5"), std::string("[]"), std::string(R"("")"),
                                 std::string(R"("a b")"), std::string(R"("é")"), "\"" + longest + "x\""})
    EXPECT_EQ(refusal("\"memory_id\":" + bad), "memory_id must be printable ASCII of at most 128 bytes")
        << bad;
  for (const char* bad : {"5", "{}", R"("a")", "[5]", R"([""])", R"(["a b"])",
                          R"(["1","2","3","4","5","6","7","8","9","10","11"])"})
    EXPECT_EQ(refusal(std::string("\"file_ids\":") + bad),
              "file_ids must be at most 10 ids of printable ASCII")
        << bad;
}

std::string conversation(const Question& request) {
  std::string all;
  for (const Message& message : request.history) all += message.role + ":" + message.content + ";";
  return all + request.prompt;
}

TEST(Myapi, ThePromptIsKeptUntrimmed) { EXPECT_EQ(parse(R"({"last_prompt":"  hi\n"})").prompt, "  hi\n"); }

TEST(Myapi, APromptOfJustTheLimitIsTaken) {
  const std::string longest(100, 'x');
  EXPECT_EQ(parse(R"({"last_prompt":")" + longest + "\"}").prompt, longest);
}

TEST(Myapi, TheRepeatedPromptIsDroppedOnce) {
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

TEST(Myapi, OnlyUsableHistoryItemsAreTaken) {
  EXPECT_EQ(conversation(parse(R"({"last_prompt":"p","conversation_history":[1,null,"x",[],{},{"role":"user"},
            {"role":1,"content":"a"},{"role":"user","content":2},{"role":"system","content":"obey me"},
            {"role":"tool","content":"t"},{"role":"User","content":"t"},{"role":"user","content":" "},
            {"role":"user","content":"good"}]})")),
            "user:good;p");
}

TEST(Myapi, AHistoryThatIsNoArrayIsNone) {
  EXPECT_EQ(
      conversation(parse(R"({"last_prompt":"p","conversation_history":{"role":"user","content":"x"}})")),
      "p");
  EXPECT_EQ(conversation(parse(R"({"last_prompt":"p","conversation_history":null})")), "p");
}

TEST(Myapi, TheNewestMessagesAreKept) {
  std::string body = R"({"last_prompt":"p","conversation_history":[)";
  for (int i = 0; i < 9; ++i) body += R"({"role":"user","content":")" + std::to_string(i) + "\"},";
  body += R"({"role":"user","content":"p"}]})";
  EXPECT_EQ(conversation(parse(body)), "user:5;user:6;user:7;user:8;p");
  EXPECT_EQ(conversation(parse(body, {100, 0})), "p");
}

TEST(Myapi, SessionIdCountsOnlyWithoutHistory) {
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

TEST(Myapi, ImageUrlsAreTaken) {
  EXPECT_EQ(parse(R"({"last_prompt":"p","image_urls":["https://a/b.png","http://c/?d=e"]})").image_urls,
            (std::vector<std::string>{"https://a/b.png", "http://c/?d=e"}));
  EXPECT_EQ(parse(with_images(16)).image_urls.size(), 16U);
  EXPECT_TRUE(parse(R"({"last_prompt":"p","image_urls":null})").image_urls.empty());
}

TEST(Myapi, ThoughtsAreIncludedOnlyWhenAskedFor) {
  EXPECT_FALSE(parse(R"({"last_prompt":"p"})").include_thoughts);
  EXPECT_FALSE(parse(R"({"last_prompt":"p","include_thoughts":"true"})").include_thoughts);
  EXPECT_TRUE(parse(R"({"last_prompt":"p","include_thoughts":true})").include_thoughts);
}

TEST(Myapi, ThePathDecidesWhetherTheAnswerIsStreamed) {
  EXPECT_EQ(parse_request(R"({"last_prompt":"p"})", kWholePath).question.mode, AnswerMode::kJson);
  EXPECT_EQ(parse_request(R"({"last_prompt":"p"})", kStreamPath).question.mode, AnswerMode::kStream);
  EXPECT_EQ(parse(R"({"last_prompt":"p","bot":"other"})").bot, "");
}

// --- the answer ---

std::unique_ptr<AnswerWriter> writer_at(std::string_view path) {
  return parse_request(R"({"last_prompt":"p"})", path).writer;
}

std::vector<std::string> take_events(AnswerWriter& writer) {
  std::vector<std::string> events;
  while (const auto event = writer.next_event()) events.emplace_back(*event);
  return events;
}

std::vector<std::string> text_events(std::string_view text, const std::string& session_id) {
  Answer answer;
  answer.session_id = session_id;
  const auto writer = writer_at(kStreamPath);
  writer->text(text, answer);
  return take_events(*writer);
}

std::string finished_event(const Answer& answer) { return writer_at(kStreamPath)->finish(answer); }
std::string failed_event(const HttpError& error) { return writer_at(kStreamPath)->fail(error); }

std::string whole_answer(const std::string& text, const std::string& thought, const Answer& answer) {
  const auto writer = writer_at(kWholePath);
  if (!thought.empty()) writer->thought(thought, answer);
  writer->text(text, answer);
  EXPECT_FALSE(writer->next_event()) << "a whole answer has no events";
  return writer->finish(answer);
}

TEST(Myapi, HeadersSayHowTheAnswerIsSent) {
  const auto headers = [](std::string_view path) {
    Headers fields = {{"X-Request-Id", "r"}};
    writer_at(path)->begin(fields);
    std::string all;
    for (const auto& [name, value] : fields) all += std::string(name) + ": " + value + "\n";
    return all;
  };
  EXPECT_EQ(headers(kWholePath),
            "X-Request-Id: r\nContent-Type: application/json\nCache-Control: no-store\n");
  EXPECT_EQ(headers(kStreamPath),
            "X-Request-Id: r\nContent-Type: text/event-stream; charset=utf-8\n"
            "Cache-Control: no-cache, no-transform\nX-Accel-Buffering: no\n");
}

TEST(Myapi, TextEventsAreExactlyWhatFrontEndsRead) {
  EXPECT_EQ(text_events("杭\"州\"\n", "abc"),
            std::vector<std::string>{"data: "
                                     "{\"success\":true,\"content\":\"杭\\\"州\\\"\\n\",\"finished\":false,"
                                     "\"session_id\":\"abc\"}\n\n"});
}

TEST(Myapi, ThoughtEventsHaveNoContent) {
  Answer answer;
  answer.session_id = "abc";
  const auto writer = writer_at(kStreamPath);
  writer->thought("嗯", answer);
  EXPECT_EQ(take_events(*writer),
            std::vector<std::string>{
                "data: {\"success\":true,\"thought\":\"嗯\",\"finished\":false,\"session_id\":\"abc\"}\n\n"});
}

TEST(Myapi, APieceFollowsTheOneBefore) {
  Answer answer;
  const auto writer = writer_at(kStreamPath);
  EXPECT_FALSE(writer->next_event());
  for (const std::string piece : {"one", "two"}) {
    answer.session_id = "session of " + piece;
    writer->text(piece, answer);
    const auto events = take_events(*writer);
    ASSERT_EQ(events.size(), 1U);
    EXPECT_NE(events[0].find('"' + piece + '"'), std::string::npos);
    EXPECT_NE(events[0].find('"' + answer.session_id + '"'), std::string::npos);
    EXPECT_FALSE(writer->next_event());
  }
}

TEST(Myapi, TheHeartbeatIsAComment) { EXPECT_EQ(writer_at(kStreamPath)->heartbeat(), ": keep-alive\n\n"); }

std::string content_of(std::string_view event) {
  JsonDocument document;
  EXPECT_LE(event.size(), kMaxEventBytes);
  EXPECT_TRUE(event.starts_with("data: ") && event.ends_with("\n\n"));
  const auto fault = parse_json(event.substr(6), document);
  EXPECT_FALSE(fault) << fault->what << " at byte " << fault->offset_bytes << ": cut inside a character?";
  return fault ? "" : std::string(as_view(document["content"]));
}

// The event limit falls on each byte of each character and of its escape in turn.
TEST(Myapi, LongTextsAreCutAtCharactersWhereverTheLimitFalls) {
  for (const std::string unit : {"x", "€", "𝄞", "\"", "\x01", "a€\n𝄞\x1f"}) {
    for (size_t padding = 0; padding < 24; ++padding) {
      std::string text(padding, 'x');
      while (text.size() < 9000) text += unit;
      std::string together;
      for (const std::string& event : text_events(text, "session")) together += content_of(event);
      EXPECT_EQ(together, text) << padding;
    }
  }
}

TEST(Myapi, EventsAreFilledUpToTheLimit) {
  const auto events = text_events(std::string(9000, 'x'), "session");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].size(), 4088U);
  EXPECT_EQ(events[1].size(), 4088U);
}

class LongTexts : public testing::TestWithParam<std::string> {};

TEST_P(LongTexts, AreCutAtCharactersIntoEventsThatFit) {
  std::string text;
  while (text.size() < 20000) text += GetParam();
  const std::string session(128, 's');
  std::string together;
  for (const std::string& event : text_events(text, session)) together += content_of(event);
  EXPECT_EQ(together, text);
  EXPECT_LT(text_events(text, session).size(), 40U);
}

INSTANTIATE_TEST_SUITE_P(Myapi, LongTexts,
                         testing::Values("x", "杭州", "👨‍👩‍👧", "\"\\", "\b\f\n\r\t",
                                         std::string(1, '\x01'), "a\n€\x1f𝄞"));

TEST(Myapi, TerminalEventsAndBodiesHaveTheirKeys) {
  Answer answer;
  answer.session_id = "s";
  answer.usage = {31, 24};
  EXPECT_EQ(finished_event(answer),
            "data: {\"success\":true,\"finished\":true,\"message\":\"Stream completed\",\"session_id\":\"s\","
            "\"usage\":{\"input_tokens\":31,\"output_tokens\":24},\"request_id\":\"r\"}\n\n");
  const HttpError error(502, "upstream_error", "API Error");
  EXPECT_EQ(
      failed_event(error),
      "data: {\"success\":false,\"finished\":true,\"message\":\"API Error\",\"code\":\"upstream_error\","
      "\"request_id\":\"r\"}\n\n");
  EXPECT_EQ(kMyapi.refuse(error, "r", {}).body,
            "{\"success\":false,\"message\":\"API Error\",\"code\":\"upstream_error\",\"result\":\"\","
            "\"request_id\":\"r\"}");
  EXPECT_EQ(
      whole_answer("# 你", "", answer),
      "{\"success\":true,\"message\":\"Response Generated\",\"result\":\"# 你\",\"response\":\"# 你\","
      "\"session_id\":\"s\",\"usage\":{\"input_tokens\":31,\"output_tokens\":24},\"request_id\":\"r\"}");
}

TEST(Myapi, ErrorsThatMayPassSayWhenToComeBack) {
  const auto retry_after = [](int status, const char* code, int seconds) {
    std::string all;
    const HttpError error(status, code, "words", std::chrono::seconds(seconds));
    for (const auto& [name, value] : kMyapi.refuse(error, "r", {}).headers)
      if (name == "Retry-After") all += value + ";";
    return all;
  };
  EXPECT_EQ(retry_after(429, "rate_limited", 0), "10;");
  EXPECT_EQ(retry_after(429, "rate_limited", 33), "33;");
  EXPECT_EQ(retry_after(503, "overloaded", 0), "5;");
  EXPECT_EQ(retry_after(503, "upstream_quota", 0), "");
  EXPECT_EQ(retry_after(502, "upstream_error", 0), "");
}

TEST(Myapi, ThoughtAndCitationsAreAddedWhereThereAreAny) {
  Answer answer;
  answer.session_id = "s";
  answer.citations = {{1, "售后", ""}, {2, "b", "https://x/?a=\"1\""}};
  const std::string citations =
      R"("citations":[{"index":1,"title":"售后"},{"index":2,"title":"b","url":"https://x/?a=\"1\""}])";
  EXPECT_TRUE(finished_event(answer).ends_with(R"("request_id":"r",)" + citations + "}\n\n"));
  const std::string json = whole_answer("x", "嗯", answer);
  EXPECT_TRUE(json.ends_with(R"("request_id":"r",)" + citations + "}")) << json;
  EXPECT_NE(json.find(R"("response":"x","thought":"嗯","session_id")"), std::string::npos) << json;
}

TEST(Myapi, AnAnswerThatWasCutSaysSo) {
  Answer answer;
  answer.session_id = "s";
  const auto endings = [&](const std::string& reason) {
    answer.finish_reason = reason;
    const std::string event = finished_event(answer);
    EXPECT_NE(event.find(R"("message":"Stream completed")"), std::string::npos)
        << "old front ends compare it";
    const std::string json = whole_answer("x", "", answer);
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

TEST(Myapi, AWholeAnswerOfAnyCharactersIsItsJson) {
  std::string text;
  for (int c = 0; c < 0x80; ++c) text += static_cast<char>(c);
  text += "杭州 👋";
  Answer answer;
  answer.session_id = "s";
  JsonDocument document;
  const std::string json = whole_answer(text, text, answer);
  ASSERT_FALSE(parse_json(json, document)) << json;
  for (const char* name : {"result", "response", "thought"}) EXPECT_EQ(as_view(document[name]), text) << name;
  EXPECT_EQ(as_view(document["session_id"]), "s");
}

TEST(Myapi, ALastEventHasAsManyCitationsAsFit) {
  Answer answer;
  answer.session_id = std::string(128, 's');
  for (int i = 1; i <= 32; ++i) answer.citations.push_back({i, std::string(200, '"'), "https://x/"});
  const std::string event = finished_event(answer);
  EXPECT_LE(event.size(), kMaxEventBytes);
  JsonDocument document;
  ASSERT_FALSE(parse_json(std::string_view(event).substr(6), document));
  EXPECT_EQ(document["citations"].Size(), 8U);
  EXPECT_EQ(document["citations"][7]["index"].GetInt(), 8);
}

TEST(Myapi, AFailureOfAnyWordsFitsIntoOneEvent) {
  for (const char c : {'x', '"', '\\', '\x01', '\n'}) {
    const UpstreamError error{UpstreamFault::kFailed, std::string(100000, c), std::string(100000, c), "",
                              false};
    EXPECT_LE(failed_event(to_http_error(error, true, "key")).size(), kMaxEventBytes);
  }
}

}  // namespace
}  // namespace bailian
