#include "fcgi_records.h"

#include <fastcgi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fcgi_request.h"
#include "fcgi_wire.h"

namespace bailian {
namespace {

using State = RequestRecords::State;
using wire::begin;
using wire::pair;
using wire::params;
using wire::record;
using wire::stdin_stream;

constexpr size_t kMaxBody = 1000;

bool feed(RequestRecords& records, std::string_view bytes, size_t step) {
  for (size_t at = 0; at < bytes.size(); at += step) {
    const auto part = bytes.substr(at, step);
    if (!records.feed({reinterpret_cast<const unsigned char*>(part.data()), part.size()})) return false;
  }
  return true;
}

std::string chat_request() {
  return begin(1, FCGI_KEEP_CONN) + params(1, {{"REQUEST_METHOD", "POST"}, {"REQUEST_URI", "/health?x=1"}}) +
         stdin_stream(1, "{\"last_prompt\":\"hi\"}");
}

struct Bad {
  const char* name;
  std::string bytes;
  const char* fault;
};

class BadRecords : public testing::TestWithParam<Bad> {};

TEST_P(BadRecords, AreRefusedCutAnywhere) {
  for (size_t step = 1; step <= GetParam().bytes.size(); ++step) {
    RequestRecords records(kMaxBody);
    ASSERT_FALSE(feed(records, GetParam().bytes, step)) << "in steps of " << step;
    EXPECT_NE(records.fault().find(GetParam().fault), std::string_view::npos) << records.fault();
    EXPECT_FALSE(feed(records, chat_request(), 1)) << "a refused connection stays refused";
  }
}

const std::string kOpenedParams = begin(1, 0) + record(FCGI_PARAMS, 1, pair("A", "b"));

INSTANTIATE_TEST_SUITE_P(
    FcgiRecords, BadRecords,
    testing::Values(
        Bad{"OtherProtocol", "GET / HTTP/1.1\r\n\r\n", "version"},
        Bad{"Version2", std::string("\x02\x01\x00\x01\x00\x08\x00\x00", 8), "version"},
        Bad{"GetValues", record(FCGI_GET_VALUES, 0, pair("FCGI_MAX_CONNS", "")), "management"},
        Bad{"UnknownManagementType", record(200, 0, ""), "management"},
        Bad{"ParamsFirst", record(FCGI_PARAMS, 1, ""), "before BEGIN"},
        Bad{"UnknownTypeFirst", record(77, 1, ""), "before BEGIN"},
        Bad{"ShortBegin", record(FCGI_BEGIN_REQUEST, 1, "1234"), "wrong length"},
        Bad{"LongBegin", record(FCGI_BEGIN_REQUEST, 1, "123456789"), "wrong length"},
        Bad{"Authorizer", record(FCGI_BEGIN_REQUEST, 1, std::string("\0\2\0\0\0\0\0\0", 8)), "role"},
        Bad{"Filter", record(FCGI_BEGIN_REQUEST, 1, std::string("\0\3\0\0\0\0\0\0", 8)), "role"},
        Bad{"SecondBegin", begin(1, 0) + begin(1, 0), "out of order"},
        Bad{"OtherRequestId", begin(1, 0) + record(FCGI_PARAMS, 2, ""), "second request"},
        Bad{"Abort", begin(1, 0) + record(FCGI_ABORT_REQUEST, 1, ""), "ABORT"},
        Bad{"StdinBeforeParamsEnd", kOpenedParams + record(FCGI_STDIN, 1, "x"), "out of order"},
        Bad{"ParamsAfterParamsEnd", begin(1, 0) + record(FCGI_PARAMS, 1, "") + record(FCGI_PARAMS, 1, "x"),
            "out of order"},
        Bad{"Data", begin(1, 0) + params(1, {}) + record(FCGI_DATA, 1, "x"), "out of order"},
        Bad{"NameLongerThanStream",
            begin(1, 0) + record(FCGI_PARAMS, 1, "\x09\x01x") + record(FCGI_PARAMS, 1, ""), "longer than"},
        Bad{"PromisedGigabytes",
            begin(1, 0) + record(FCGI_PARAMS, 1, "\xff\xff\xff\xff\xff\xff\xff\xff") +
                record(FCGI_PARAMS, 1, ""),
            "longer than"},
        Bad{"CutLength", begin(1, 0) + record(FCGI_PARAMS, 1, "\x80\x01") + record(FCGI_PARAMS, 1, ""),
            "longer than"},
        Bad{"NameWithoutValueLength",
            begin(1, 0) + record(FCGI_PARAMS, 1, "\x01") + record(FCGI_PARAMS, 1, ""), "longer than"},
        Bad{"BytesBehind", chat_request() + "x", "behind"}),
    [](const auto& test) { return test.param.name; });

TEST(FcgiRecords, ParametersOverTheLimitAreRefused) {
  RequestRecords records(kMaxBody);
  std::string bytes = begin(1, 0);
  for (int i = 0; i < 70; ++i) bytes += record(FCGI_PARAMS, 1, std::string(1000, 'x'));
  EXPECT_FALSE(feed(records, bytes, 4096));
  EXPECT_EQ(records.fault(), "parameters over the limit");
  EXPECT_LT(records.wire().size(), 70000U);
}

TEST(FcgiRecords, ACutRequestIsTheSameRequest) {
  RequestRecords whole(kMaxBody);
  ASSERT_TRUE(feed(whole, chat_request(), 100000));
  ASSERT_EQ(whole.state(), State::kComplete);
  EXPECT_TRUE(whole.keep_conn());
  EXPECT_EQ(whole.request_id(), 1);
  for (size_t step = 1; step < chat_request().size(); ++step) {
    RequestRecords cut(kMaxBody);
    ASSERT_TRUE(feed(cut, chat_request(), step));
    EXPECT_EQ(cut.state(), State::kComplete);
    EXPECT_EQ(cut.wire(), whole.wire());
  }
}

TEST(FcgiRecords, OneByteRecordsWithPaddingBecomeAFew) {
  std::string bytes = begin(7, 0);
  const std::string pairs = pair("REQUEST_METHOD", "POST") + pair("REQUEST_URI", std::string(300, 'v'));
  for (const char c : pairs) bytes += record(FCGI_PARAMS, 7, std::string(1, c), 255);
  bytes += record(FCGI_PARAMS, 7, "", 3);
  const std::string body(kMaxBody, 'b');
  for (const char c : body) bytes += record(FCGI_STDIN, 7, std::string(1, c), 7);
  bytes += record(FCGI_STDIN, 7, "", 255);
  RequestRecords records(kMaxBody);
  ASSERT_TRUE(feed(records, bytes, 999));
  ASSERT_EQ(records.state(), State::kComplete);
  EXPECT_EQ(records.wire().size(), 16 + 8 + pairs.size() + 8 + 8 + body.size() + 8);
  const auto request = FcgiRequestReader().read(records);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->body, body);
}

TEST(FcgiRecords, OnlyTheParametersThatAreReadArePassedOn) {
  std::string pairs;
  for (int i = 0; i < 100; ++i) pairs += pair("HTTP_X" + std::to_string(i), std::string(200, 'x'));
  pairs += pair("REQUEST_METHOD", "POST") + pair("REQUEST_METHOD", "GET") + pair("REQUEST_URI=/a", "/b");
  RequestRecords records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(1, 0) + record(FCGI_PARAMS, 1, pairs) + record(FCGI_PARAMS, 1, ""), 4096));
  ASSERT_TRUE(feed(records, stdin_stream(1, ""), 4096));
  EXPECT_EQ(records.wire(),
            begin(1, FCGI_KEEP_CONN) + params(1, {{"REQUEST_METHOD", "POST"}}) + stdin_stream(1, ""));
}

TEST(FcgiRecords, ABodyOverTheLimitIsReadAndThrownAway) {
  const std::string bytes =
      begin(1, 0) + params(1, {{"REQUEST_METHOD", "POST"}}) + stdin_stream(1, std::string(200000, 'x'));
  RequestRecords records(150000);
  ASSERT_TRUE(feed(records, bytes, 4096));
  EXPECT_EQ(records.state(), State::kComplete);
  EXPECT_TRUE(records.body_too_large());
  EXPECT_LT(records.wire().size(), 200U);
  const auto request = FcgiRequestReader().read(records);
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->body_too_large);
  EXPECT_EQ(request->body, "");
}

TEST(FcgiRecords, ABodyOfExactlyTheLimitIsTaken) {
  RequestRecords records(size_t{65535} * 2);
  ASSERT_TRUE(feed(
      records, begin(1, 0) + params(1, {}) + stdin_stream(1, std::string(size_t{65535} * 2, 'x')), 10000));
  EXPECT_FALSE(records.body_too_large());
  EXPECT_EQ(FcgiRequestReader().read(records)->body.size(), size_t{65535} * 2);
}

TEST(FcgiRecords, ARequestWithoutParametersOrBodyIsWhole) {
  RequestRecords records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(65535, 0) + params(65535, {}) + record(FCGI_STDIN, 65535, ""), 5));
  EXPECT_EQ(records.state(), State::kComplete);
  EXPECT_FALSE(records.keep_conn());
  EXPECT_TRUE(FcgiRequestReader().read(records));
}

class FcgiRequests : public testing::Test {
 protected:
  std::optional<Request> read(const wire::Pairs& pairs, const std::string& body) {
    RequestRecords records(1 << 20);
    EXPECT_TRUE(feed(records, begin(1, 0) + params(1, pairs) + stdin_stream(1, body), 1 << 16));
    return reader_.read(records);
  }

 private:
  FcgiRequestReader reader_;
};

TEST_F(FcgiRequests, AreReadWithTheirHeaders) {
  const auto request = read({{"REQUEST_METHOD", "POST"},
                             {"REQUEST_URI", "/myapi/v1/chat-bot?x=/y"},
                             {"SCRIPT_NAME", "/index.php"},
                             {"HTTP_HOST", "example.com"},
                             {"HTTP_ORIGIN", "https://example.com"},
                             {"HTTP_IF_NONE_MATCH", "\"x\""},
                             {"REQUEST_ID", "0123abc"},
                             {"CONTENT_LENGTH", "2"}},
                            "{}");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->path, "/myapi/v1/chat-bot");
  EXPECT_EQ(request->host, "example.com");
  EXPECT_EQ(request->origin, "https://example.com");
  EXPECT_EQ(request->if_none_match, "\"x\"");
  EXPECT_EQ(request->request_id, "0123abc");
  EXPECT_EQ(request->body, "{}");
}

TEST_F(FcgiRequests, WithoutUriGoByTheScriptsName) {
  EXPECT_EQ(read({{"DOCUMENT_URI", "/a"}, {"SCRIPT_NAME", "/b"}}, "")->path, "/a");
  EXPECT_EQ(read({{"SCRIPT_NAME", "/b"}}, "")->path, "/b");
  EXPECT_EQ(read({}, "")->path, "");
}

TEST_F(FcgiRequests, WithAnUnusableIdGetAFreshOne) {
  const std::string fresh = read({{"REQUEST_ID", "a\r\nX: y"}}, "")->request_id;
  EXPECT_EQ(fresh.size(), 32U);
  EXPECT_NE(fresh, read({}, "")->request_id);
}

TEST_F(FcgiRequests, NeverHoldAnOriginThatCouldForgeAHeader) {
  EXPECT_EQ(read({{"HTTP_ORIGIN", "https://a\r\nX: y"}}, "")->origin, "null");
}

TEST_F(FcgiRequests, ThatAreShorterThanDeclaredAreNone) {
  EXPECT_FALSE(read({{"CONTENT_LENGTH", "3"}}, "{}"));
  EXPECT_FALSE(read({{"CONTENT_LENGTH", "1"}}, "{}"));
  EXPECT_FALSE(read({{"CONTENT_LENGTH", "x"}}, "{}"));
  EXPECT_TRUE(read({{"CONTENT_LENGTH", ""}}, ""));
}

TEST_F(FcgiRequests, KeepEveryByteOfABodyOfAMegabyte) {
  std::string body;
  for (size_t i = 0; i < (1 << 20); ++i) body += static_cast<char>(i * 7 + i / 256);
  EXPECT_EQ(read({}, body)->body, body);
  EXPECT_EQ(read({}, "short")->body, "short") << "nothing of the earlier request is left";
}

}  // namespace
}  // namespace bailian
