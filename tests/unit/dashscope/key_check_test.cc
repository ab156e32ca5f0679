#include "dashscope/key_check.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

using enum KeyAnswer;

struct Response {
  int status;
  const char* body;
  KeyAnswer answer;
};

TEST(KeyCheck, OnlyAnAnswerInTheDocumentedFormSaysSomethingAboutTheKey) {
  constexpr const char* kQuotas = R"({"request_id":"r","output":{"total":0,"quotas":[]}})";
  constexpr const char* kInvalid = R"({"code":"InvalidApiKey","message":"Invalid API-key provided."})";
  const Response responses[] = {
      {200, kQuotas, kAccepted},
      {401, kInvalid, kRefused},
      {403, kInvalid, kRefused},
      {401, R"({"code":"invalid_api_key","message":"m"})", kRefused},
      {200, "", kUnclear},
      {200, "<html>Welcome</html>", kUnclear},
      {200, "{}", kUnclear},
      {200, kInvalid, kUnclear},
      {200, R"({"code":"Success","output":{}})", kUnclear},
      {200, R"({"request_id":"r","output":{"total":)", kUnclear},
      {201, kQuotas, kUnclear},
      {307, kQuotas, kUnclear},
      {404, kQuotas, kUnclear},
      {401, "", kUnclear},
      {401, "<html>Log in</html>", kUnclear},
      {401, "{}", kUnclear},
      {401, R"({"code":"Unheard","message":"m"})", kUnclear},
      {403, R"({"code":"AccessDenied","message":"m"})", kUnclear},
      {400, R"({"code":"Arrearage","message":"m"})", kUnclear},
      {404, R"({"code":"NotFound","message":"Not found!"})", kUnclear},
      {429, R"({"code":"Throttling","message":"m"})", kUnclear},
      {500, R"({"code":"InternalError","message":"m"})", kUnclear},
  };
  for (const auto& [status, body, answer] : responses)
    EXPECT_EQ(read_quotas(status, body), answer) << status << " " << body;
}

}  // namespace
}  // namespace bailian
