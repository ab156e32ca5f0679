#include "chat/failed_streams.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

using namespace std::chrono_literals;

const FailedStreams::Failure kFailure{HttpError(502, "upstream_error", "API Error"), "InternalError"};
constexpr Clock::time_point kNow{};

Question asked(std::string prompt) {
  Question request;
  request.prompt = std::move(prompt);
  return request;
}

TEST(FailedStreams, TellAFailureOnce) {
  FailedStreams streams;
  const auto question = streams.key("10.0.0.1", asked("hello"));
  EXPECT_FALSE(streams.take(question, kNow));
  streams.remember(question, kFailure, kNow);
  const auto failure = streams.take(question, kNow + 1s);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->error.status(), 502);
  EXPECT_EQ(failure->error.code(), "upstream_error");
  EXPECT_STREQ(failure->error.what(), "API Error");
  EXPECT_EQ(failure->upstream_code, "InternalError");
  EXPECT_FALSE(streams.take(question, kNow + 1s));
}

TEST(FailedStreams, ForgetAfterHalfAMinute) {
  FailedStreams streams;
  const auto question = streams.key("10.0.0.1", asked("hello"));
  streams.remember(question, kFailure, kNow);
  EXPECT_FALSE(streams.take(question, kNow + 30s));
  streams.remember(question, kFailure, kNow);
  EXPECT_TRUE(streams.take(question, kNow + 29s));
  streams.remember(question, kFailure, kNow);
  streams.remember(question, kFailure, kNow + 20s);
  streams.remember(streams.key("10.0.0.1", asked("other")), kFailure, kNow + 40s);
  EXPECT_TRUE(streams.take(question, kNow + 40s));  // the second call replaces the first
}

TEST(FailedStreams, TellQuestionsOfVisitorsApart) {
  const FailedStreams streams;
  Question request = asked("hello");
  const auto question = streams.key("10.0.0.1", request);
  EXPECT_EQ(streams.key("10.0.0.1", asked("hello")), question);
  EXPECT_NE(streams.key("10.0.0.2", asked("hello")), question);
  EXPECT_NE(streams.key("10.0.0.1", asked("hello!")), question);
  EXPECT_NE(streams.key("10.0.0.1hello", asked("")), question);
  request.session_id = "s";
  EXPECT_NE(streams.key("10.0.0.1", request), question);
  request = asked("hello");
  request.history = {{"user", "before"}};
  const auto with_history = streams.key("10.0.0.1", request);
  EXPECT_NE(with_history, question);
  request = asked("hello");
  request.image_urls = {"user", "before"};
  EXPECT_NE(streams.key("10.0.0.1", request), with_history);
  request = asked("hello");
  request.biz_params_json = R"({"city":"Hangzhou"})";
  const auto with_params = streams.key("10.0.0.1", request);
  EXPECT_NE(with_params, question);
  request.biz_params_json = R"({"city":"Beijing"})";
  EXPECT_NE(streams.key("10.0.0.1", request), with_params);
  request = asked("hello");
  request.memory_id = "m";
  EXPECT_NE(streams.key("10.0.0.1", request), question);
  request = asked("hello");
  request.file_ids = {"user", "before"};
  EXPECT_NE(streams.key("10.0.0.1", request), with_history);
  EXPECT_NE(streams.key("10.0.0.1", request), question);
}

TEST(FailedStreams, KeepTheNewestOnly) {
  FailedStreams streams;
  const size_t asked = 4096 + 10;
  for (size_t i = 0; i < asked; ++i) streams.remember(i, kFailure, kNow);
  for (size_t i = 0; i < 10; ++i) EXPECT_FALSE(streams.take(i, kNow)) << i;
  for (size_t i = 10; i < asked; ++i) EXPECT_TRUE(streams.take(i, kNow)) << i;
}

}  // namespace
}  // namespace bailian
