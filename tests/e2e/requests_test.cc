// Valid requests of visitors, and the errors for invalid ones.

#include <gtest/gtest.h>

#include <string>

#include "harness/answer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class Requests : public SharedSite<Requests> {};

constexpr const char* kChatPaths[] = {kStreamPath, kChatPath};

std::string nested(int arrays) {
  return R"({"last_prompt":"[[sim events=1]]","extra":)" + std::string(static_cast<size_t>(arrays), '[') +
         std::string(static_cast<size_t>(arrays), ']') + "}";
}

TEST_F(Requests, WithoutDataAreRefused) {
  for (const char* path : kChatPaths) {
    for (const char* body : {"", "{}", "[]", "null", " { } ", "[ ]"}) {
      SCOPED_TRACE(body);
      const auto answer = site().post(path, body);
      expect_error(answer, 400, "invalid_request", "No data provided");
      EXPECT_EQ(text_at(answer.json(), "/message"), "No data provided");
    }
  }
}

TEST_F(Requests, ThatAreNotOneJsonObjectAreRefused) {
  const std::string not_objects[] = {"hello",
                                     "{",
                                     R"({"last_prompt":})",
                                     R"({"last_prompt":"x")",
                                     R"({"last_prompt":"x",})",
                                     R"({'last_prompt':'x'})",
                                     R"({"last_prompt":"x"} {})",
                                     R"({"last_prompt":"x"}x)",
                                     std::string(R"({"last_prompt":"x"})") + '\0',
                                     std::string(R"({"last_prompt":"x"})") + '\0' + "garbage",
                                     "\"text\"",
                                     "42",
                                     "true",
                                     R"(["last_prompt"])",
                                     "{\"last_prompt\":\"\xff\xfe\"}",
                                     "{\"last_prompt\":\"\xc3\"}",
                                     "{\"last_prompt\":\"\xed\xa0\x80\"}",
                                     "{\"last_prompt\":\"\xc0\xaf\"}",
                                     "{\"last_prompt\":\"x\",\"\xff\":1}",
                                     R"({"last_prompt":"\ud83d"})",
                                     "{\"last_prompt\":\"line\nbreak\"}",
                                     nested(100),
                                     nested(100000)};
  for (const char* path : kChatPaths) {
    for (const auto& body : not_objects) {
      SCOPED_TRACE(body.substr(0, 100));
      expect_error(site().post(path, body), 400, "invalid_request", "Invalid JSON");
    }
  }
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(Requests, NestedSixtyFourDeepAreTheDeepest) {
  EXPECT_EQ(site().post(kChatPath, nested(63)).status, 200);
  expect_error(site().post(kChatPath, nested(64)), 400, "invalid_request", "Invalid JSON");
}

TEST_F(Requests, TheFaultInJsonIsNamedWithItsPlace) {
  const auto answer = site().post(kChatPath, R"({"last_prompt":"x",oops})");
  const auto message = text_at(answer.json(), "/message");
  EXPECT_TRUE(message.find("19") != message.npos || message.find("20") != message.npos) << message;
}

TEST_F(Requests, WithoutAPromptAreRefused) {
  const char* without[] = {R"({"prompt":"x"})",
                           R"({"last_prompt":null})",
                           R"({"last_prompt":5})",
                           R"({"last_prompt":["x"]})",
                           R"({"last_prompt":{"a":1}})",
                           R"({"last_prompt":""})",
                           R"({"last_prompt":"   "})",
                           R"({"last_prompt":" \t\r\n "})",
                           R"({"conversation_history":[{"role":"user","content":"x"}]})"};
  for (const char* path : kChatPaths) {
    for (const char* body : without) {
      SCOPED_TRACE(body);
      const auto answer = site().post(path, body);
      expect_error(answer, 400, "invalid_request", "last_prompt is required");
      EXPECT_EQ(text_at(answer.json(), "/message"), "last_prompt is required");
    }
  }
  EXPECT_EQ(site().simulator().count("requests"), 0);
}

TEST_F(Requests, APromptOverItsLimitIsTooLarge) {
  const std::string directive = "[[sim events=2]]";
  const std::string longest = directive + std::string(32768 - directive.size(), 'p');
  EXPECT_EQ(read_stream(site().stream(longest)).text, tokens(2));
  expect_error(site().stream(longest + "p").read_all(), 413, "too_large", "Request too large");
  expect_error(site().ask(longest + "p"), 413, "too_large", "Request too large");
  EXPECT_EQ(site().simulator().count("requests"), 1);
}

TEST_F(Requests, ABodyOfJustItsLimitIsRead) {
  auto body = chat_body("[[sim events=2]]");
  body.insert(1, 1048576 - body.size(), ' ');
  const auto answer = site().post(kChatPath, body);
  EXPECT_EQ(answer.status, 200) << answer.body;
}

TEST_F(Requests, AnyContentTypeIsReadAsJson) {
  for (const char* type : {"application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8",
                           "application/x-www-form-urlencoded", "nonsense"}) {
    SCOPED_TRACE(type);
    EXPECT_EQ(site().post(kChatPath, chat_body("[[sim events=2]]"), {{"Content-Type", type}}).status, 200);
  }
}

TEST_F(Requests, UnknownMembersAreIgnored) {
  const auto answer = site().post(
      kChatPath,
      R"({"nonce":1,"last_prompt":"[[sim events=2]]","model":"x","extra":{"a":[1,2,{"b":null}]}})");
  EXPECT_EQ(answer.status, 200) << answer.body;
}

TEST_F(Requests, TheWholeAnswerHasTheShapeFrontEndsRead) {
  const auto answer = site().ask("[[sim events=3]]");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.headers.get("Content-Type").starts_with("application/json"));
  EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store");
  EXPECT_EQ(answer.headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(answer.headers.get("X-Request-Id"), answer.headers.get("X-Nginx-Request-Id"));
  const auto json = answer.json();
  EXPECT_EQ(member_names(json), (std::vector<std::string>{"success", "message", "result", "response",
                                                          "session_id", "usage", "request_id"}));
  EXPECT_TRUE(bool_at(json, "/success"));
  EXPECT_EQ(text_at(json, "/message"), "Response Generated");
  EXPECT_EQ(text_at(json, "/result"), tokens(3));
  EXPECT_EQ(text_at(json, "/response"), tokens(3));
  EXPECT_FALSE(text_at(json, "/session_id").empty());
  EXPECT_GT(number_at(json, "/usage/input_tokens"), 0);
  EXPECT_GT(number_at(json, "/usage/output_tokens"), 0);
  EXPECT_EQ(text_at(json, "/request_id"), answer.headers.get("X-Request-Id"));
}

TEST_F(Requests, TheWholeAnswerIsRawUtf8) {
  const std::string text = "杭州 👨‍👩‍👧 \"引号\" \\ \n \u2028";
  const auto answer = site().ask("[[sim text=echo]] " + text);
  EXPECT_EQ(text_at(answer.json(), "/result"), text);
  EXPECT_NE(answer.body.find("杭州 👨‍👩‍👧"), std::string::npos) << answer.body;
}

TEST_F(Requests, ALongWholeAnswerArrivesWhole) {
  const auto answer = site().ask("[[sim bytes=300000]]");
  EXPECT_EQ(text_at(answer.json(), "/result"), std::string(300000, 'x'));
}

TEST(SmallBodies, ABodyOverItsLimitIsTooLarge) {
  Site site({.settings = {{"MAX_BODY_BYTES", "1000"}, {"MAX_PROMPT_BYTES", "500"}}});
  auto body = chat_body("[[sim events=2]]");
  body.insert(1, 1000 - body.size(), ' ');
  EXPECT_EQ(site.post(kChatPath, body).status, 200);
  body.insert(1, 1, ' ');
  for (const char* path : kChatPaths) {
    expect_error(site.post(path, body), 413, "too_large", "Request too large");
    expect_error(site.post(path, std::string(500'000, ' ')), 413, "too_large", "Request too large");
  }
}

}  // namespace
}  // namespace bailian::e2e
