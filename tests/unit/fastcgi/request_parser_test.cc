#include "fastcgi/request_parser.h"

#include <fastcgi.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>

#include "fastcgi/request_reader.h"
#include "harness/sanitized.h"
#include "unit/fcgi_wire.h"

namespace bailian {
namespace {

using State = FcgiRequestParser::State;
using wire::begin;
using wire::end_request;
using wire::pair;
using wire::params;
using wire::record;
using wire::stdin_stream;

constexpr size_t kMaxBody = 1000;

bool feed(FcgiRequestParser& records, std::string_view bytes, size_t step) {
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

std::string repeated(const std::string& bytes, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += bytes;
  return all;
}

struct Bad {
  const char* name;
  std::string bytes;
  const char* fault;
};

class BadRecords : public testing::TestWithParam<Bad> {};

TEST_P(BadRecords, AreRefusedCutAnywhere) {
  for (size_t step = 1; step <= GetParam().bytes.size(); ++step) {
    FcgiRequestParser records(kMaxBody);
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
        Bad{"BeginWithoutId", begin(0, 0), "without a request id"},
        Bad{"StdinWithoutId", begin(1, 0) + record(FCGI_STDIN, 0, "x"), "without a request id"},
        Bad{"ParamsFirst", record(FCGI_PARAMS, 1, ""), "before BEGIN"},
        Bad{"UnknownTypeFirst", record(77, 1, ""), "before BEGIN"},
        Bad{"ShortBegin", record(FCGI_BEGIN_REQUEST, 1, "1234"), "wrong length"},
        Bad{"LongBegin", record(FCGI_BEGIN_REQUEST, 1, "123456789"), "wrong length"},
        Bad{"SecondBegin", begin(1, 0) + begin(1, 0), "out of order"},
        Bad{"UnknownTypeWithin", begin(1, 0) + record(99, 1, "x"), "out of order"},
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
        Bad{"BytesBehind", chat_request() + "x", "version"},
        Bad{"BodyBehindTheBody", chat_request() + record(FCGI_STDIN, 1, "x"), "out of order"},
        Bad{"BeginBehind", chat_request() + begin(1, 0), "out of order"},
        Bad{"ManagementWithoutEnd", repeated(record(200, 0, ""), 17), "too many"},
        Bad{"SecondRequestsWithoutEnd", begin(1, 0) + repeated(begin(2, 0), 17), "too many"},
        Bad{"AbortedRequestsWithoutEnd", repeated(begin(1, 1) + record(FCGI_ABORT_REQUEST, 1, ""), 17),
            "too many"}),
    [](const auto& test) { return test.param.name; });

// The reply to `bytes`, which are valid, however they are cut.
std::string replies_to(const std::string& bytes, int max_requests = 7) {
  std::optional<std::string> first;
  for (size_t step = 1; step <= bytes.size(); ++step) {
    FcgiRequestParser records(kMaxBody, max_requests);
    EXPECT_TRUE(feed(records, bytes, step)) << records.fault() << ", in steps of " << step;
    const std::string replies = records.take_replies();
    EXPECT_EQ(replies, first.value_or(replies)) << "in steps of " << step;
    first = replies;
  }
  return *first;
}

std::string get_values(const std::string& pairs) { return record(FCGI_GET_VALUES, 0, pairs, 3); }
std::string values(const std::string& pairs) { return record(FCGI_GET_VALUES_RESULT, 0, pairs); }

TEST(FcgiRecords, TheValuesThatAreAskedForAreGiven) {
  EXPECT_EQ(replies_to(get_values(pair("FCGI_MAX_REQS", "") + pair("FCGI_MPXS_CONNS", "")), 1000),
            values(pair("FCGI_MAX_REQS", "1000") + pair("FCGI_MPXS_CONNS", "0")));
  EXPECT_EQ(replies_to(get_values(pair("FCGI_MAX_CONNS", "")), 20), values(pair("FCGI_MAX_CONNS", "20")));
  EXPECT_EQ(replies_to(get_values(pair("NEW", "") + pair("FCGI_MPXS_CONNS", "1") + pair("X", "y"))),
            values(pair("FCGI_MPXS_CONNS", "0")))
      << "others are left out (section 4.1)";
  EXPECT_EQ(replies_to(get_values("")), values(""));
}

TEST(FcgiRecords, HowOftenAValueIsAskedForDoesNotMakeTheAnswerLonger) {
  EXPECT_EQ(replies_to(get_values(repeated(pair("FCGI_MPXS_CONNS", ""), 100))),
            values(pair("FCGI_MPXS_CONNS", "0")));
}

TEST(FcgiRecords, OfNamesThatAreCutOffNoneIsRead) {
  EXPECT_EQ(replies_to(get_values("\x0f\x7f"
                                  "FCGI_MPXS_CONNS")),
            values(""));
  EXPECT_EQ(replies_to(get_values("\xff\xff\xff\xff\xff\xff\xff\xff")), values(""));
}

TEST(FcgiRecords, AnUnknownManagementRecordIsNamed) {
  EXPECT_EQ(replies_to(record(200, 0, "what is this", 5)),
            record(FCGI_UNKNOWN_TYPE, 0, std::string{'\xc8', 0, 0, 0, 0, 0, 0, 0}));
}

TEST(FcgiRecords, ManagementRecordsMayStandAnywhere) {
  const std::string asks = get_values(pair("FCGI_MPXS_CONNS", ""));
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records,
                   asks + begin(1, 0) + asks + record(FCGI_PARAMS, 1, pair("REQUEST_METHOD", "POST")) + asks +
                       record(FCGI_PARAMS, 1, "") + asks + stdin_stream(1, "{}") + asks,
                   3));
  EXPECT_EQ(records.take_replies(), repeated(values(pair("FCGI_MPXS_CONNS", "0")), 5));
  ASSERT_EQ(records.state(), State::kComplete);
  const auto request = FcgiRequestReader().read(records);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->body, "{}");
}

TEST(FcgiRecords, AnotherRoleIsRefused) {
  for (const char role : {'\0', '\2', '\3', '\x77'}) {
    const std::string request = begin(5, 0, role) + record(FCGI_PARAMS, 5, "") + record(FCGI_STDIN, 5, "x");
    EXPECT_EQ(replies_to(request), end_request(5, FCGI_UNKNOWN_ROLE));
    FcgiRequestParser records(kMaxBody);
    ASSERT_TRUE(feed(records, request, 100));
    EXPECT_TRUE(records.is_closing());
    ASSERT_TRUE(feed(records, chat_request(), 100));
    EXPECT_EQ(records.state(), State::kBegin) << "nothing counts on a connection that is being closed";
  }
}

TEST(FcgiRecords, AfterAnotherRoleAKeptConnectionTakesTheNextRequest) {
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(5, FCGI_KEEP_CONN, FCGI_AUTHORIZER) + record(FCGI_PARAMS, 5, ""), 1));
  EXPECT_FALSE(records.is_closing());
  ASSERT_TRUE(feed(records, chat_request(), 1));
  EXPECT_EQ(records.state(), State::kComplete);
}

TEST(FcgiRecords, ASecondRequestOnAConnectionIsRefusedAndTheFirstGoesOn) {
  FcgiRequestParser records(kMaxBody);
  const std::string second = begin(2, 0) + params(2, {{"REQUEST_METHOD", "PUT"}}) + stdin_stream(2, "other");
  ASSERT_TRUE(
      feed(records, begin(1, 0) + second + params(1, {}) + second + stdin_stream(1, "{}") + second, 7));
  EXPECT_EQ(records.take_replies(), repeated(end_request(2, FCGI_CANT_MPX_CONN), 3));
  ASSERT_EQ(records.state(), State::kComplete);
  EXPECT_EQ(FcgiRequestReader().read(records)->body, "{}");
}

TEST(FcgiRecords, AnAbortedRequestEnds) {
  const std::string abort = record(FCGI_ABORT_REQUEST, 1, "");
  for (const auto& part :
       {begin(1, FCGI_KEEP_CONN), begin(1, FCGI_KEEP_CONN) + record(FCGI_PARAMS, 1, "x"),
        begin(1, FCGI_KEEP_CONN) + params(1, {}) + record(FCGI_STDIN, 1, std::string(2 * kMaxBody, 'x'))}) {
    FcgiRequestParser records(kMaxBody);
    ASSERT_TRUE(feed(records, part + abort, 50));
    EXPECT_EQ(records.take_replies(), end_request(1, FCGI_REQUEST_COMPLETE));
    EXPECT_FALSE(records.is_closing());
    ASSERT_TRUE(feed(records, chat_request(), 50));
    ASSERT_EQ(records.state(), State::kComplete);
    EXPECT_FALSE(records.body_too_large());
    EXPECT_EQ(FcgiRequestReader().read(records)->body, "{\"last_prompt\":\"hi\"}");
  }
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(1, 0) + abort, 50));
  EXPECT_TRUE(records.is_closing());
}

TEST(FcgiRecords, TheAbortOfAWholeRequestIsLeftToWhoAnswersIt) {
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records, chat_request() + record(FCGI_ABORT_REQUEST, 1, ""), 50));
  EXPECT_EQ(records.take_replies(), "");
  EXPECT_TRUE(records.aborted());
  records.expect_next(kMaxBody);
  EXPECT_FALSE(records.aborted());
  ASSERT_TRUE(feed(records, chat_request(), 50));
  EXPECT_EQ(records.state(), State::kComplete);
}

// Parameters of `bytes` bytes; the first and the last are read.
std::string many_params(size_t bytes) {
  std::string pairs = pair("REQUEST_METHOD", "POST") + pair("HTTP_ORIGIN", "https://a.example");
  const std::string last = pair("REQUEST_URI", "/late");
  const size_t lengths = pair("X", std::string(200, 'x')).size() - 201;
  pairs += pair("X", std::string(bytes - pairs.size() - last.size() - 1 - lengths, 'x')) + last;
  std::string records;
  for (size_t at = 0; at < pairs.size(); at += 5000)
    records += record(FCGI_PARAMS, 1, pairs.substr(at, 5000));
  return records + record(FCGI_PARAMS, 1, "");
}

TEST(FcgiRecords, ParametersOfExactlyTheLimitAreRead) {
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(
      records, begin(1, 0) + many_params(FcgiRequestParser::kMaxParamsBytes) + stdin_stream(1, "{}"), 4096));
  EXPECT_FALSE(records.params_too_large());
  const auto request = FcgiRequestReader().read(records);
  EXPECT_EQ(request->fault, RequestFault::kNone);
  EXPECT_EQ(request->path, "/late");
}

TEST(FcgiRecords, OfTooManyParametersTheFirstAreRead) {
  for (const size_t size :
       {FcgiRequestParser::kMaxParamsBytes + 1, FcgiRequestParser::kMaxDroppedParamsBytes}) {
    FcgiRequestParser records(kMaxBody);
    ASSERT_TRUE(feed(records, begin(1, 0) + many_params(size) + stdin_stream(1, "{}"), 4096));
    EXPECT_TRUE(records.params_too_large());
    EXPECT_LT(records.wire().size(), 1000U);
    const auto request = FcgiRequestReader().read(records);
    EXPECT_EQ(request->fault, RequestFault::kParamsTooLarge);
    EXPECT_EQ(request->method, "POST");
    EXPECT_EQ(request->origin, "https://a.example");
    EXPECT_EQ(request->body, "");
  }
}

TEST(FcgiRecords, ParametersWithoutEndAreRefused) {
  FcgiRequestParser records(kMaxBody);
  EXPECT_FALSE(feed(records, begin(1, 0) + many_params(FcgiRequestParser::kMaxDroppedParamsBytes + 1), 4096));
  EXPECT_EQ(records.fault(), "parameters without end");
  EXPECT_LE(records.wire().size(), FcgiRequestParser::kMaxParamsBytes + 100);
}

TEST(FcgiRecords, ABodyThatNobodyReadsIsNotKept) {
  for (const size_t step : {1U, 20U, 10'000U}) {
    FcgiRequestParser records(kMaxBody);
    ASSERT_TRUE(feed(records, begin(1, 0) + params(1, {{"CONTENT_LENGTH", "500"}}), step));
    const std::string body = stdin_stream(1, std::string(500, 'x'));
    ASSERT_TRUE(feed(records, body.substr(0, 100), step));
    records.drop_body();
    ASSERT_TRUE(feed(records, body.substr(100), step));
    EXPECT_LT(records.wire().size(), 100U);
    EXPECT_EQ(records.body_bytes(), 500U);
    const auto request = FcgiRequestReader().read(records);
    EXPECT_EQ(request->body, "");
    EXPECT_EQ(request->fault, RequestFault::kNone);
  }
}

TEST(FcgiRecords, ACutRequestIsTheSameRequest) {
  FcgiRequestParser whole(kMaxBody);
  ASSERT_TRUE(feed(whole, chat_request(), 100000));
  ASSERT_EQ(whole.state(), State::kComplete);
  EXPECT_TRUE(whole.keep_conn());
  EXPECT_EQ(whole.request_id(), 1);
  for (size_t step = 1; step < chat_request().size(); ++step) {
    FcgiRequestParser cut(kMaxBody);
    ASSERT_TRUE(feed(cut, chat_request(), step));
    EXPECT_EQ(cut.state(), State::kComplete);
    EXPECT_EQ(cut.wire(), whole.wire());
  }
}

TEST(FcgiRecords, TellsParametersBeforeTheBodyIsIn) {
  FcgiRequestParser records(kMaxBody);
  const std::string long_uri = "/" + std::string(300, 'u');
  ASSERT_TRUE(feed(records, begin(1, 0) + record(FCGI_PARAMS, 1, pair("REQUEST_METHOD", "PO")), 1));
  EXPECT_EQ(records.param("REQUEST_METHOD"), "");
  ASSERT_TRUE(feed(records,
                   record(FCGI_PARAMS, 1,
                          pair("REQUEST_URI", long_uri + "?q") + pair("HTTP_HOST", std::string("a\0b", 3))) +
                       record(FCGI_PARAMS, 1, ""),
                   1));
  EXPECT_TRUE(records.has_params());
  EXPECT_EQ(records.param("REQUEST_METHOD"), "PO");
  EXPECT_EQ(requested_path(records), long_uri);
  EXPECT_EQ(records.param("HTTP_HOST"), "a") << "as libfcgi reads it";
  EXPECT_EQ(records.param("HTTP_ORIGIN"), "");
  FcgiRequestParser empty(kMaxBody);
  ASSERT_TRUE(feed(empty, begin(1, 0) + params(1, {}), 1));
  EXPECT_EQ(requested_path(empty), "");
}

TEST(FcgiRecords, OneByteRecordsWithPaddingBecomeAFew) {
  std::string bytes = begin(7, 0);
  const std::string pairs = pair("REQUEST_METHOD", "POST") + pair("REQUEST_URI", std::string(300, 'v'));
  for (const char c : pairs) bytes += record(FCGI_PARAMS, 7, std::string(1, c), 255);
  bytes += record(FCGI_PARAMS, 7, "", 3);
  const std::string body(kMaxBody, 'b');
  for (const char c : body) bytes += record(FCGI_STDIN, 7, std::string(1, c), 7);
  bytes += record(FCGI_STDIN, 7, "", 255);
  FcgiRequestParser records(kMaxBody);
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
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(1, 0) + record(FCGI_PARAMS, 1, pairs) + record(FCGI_PARAMS, 1, ""), 4096));
  ASSERT_TRUE(feed(records, stdin_stream(1, ""), 4096));
  EXPECT_EQ(records.wire(),
            begin(1, FCGI_KEEP_CONN) + params(1, {{"REQUEST_METHOD", "POST"}}) + stdin_stream(1, ""));
}

TEST(FcgiRecords, ABodyOverTheLimitIsReadAndThrownAway) {
  const std::string bytes =
      begin(1, 0) + params(1, {{"REQUEST_METHOD", "POST"}}) + stdin_stream(1, std::string(200000, 'x'));
  FcgiRequestParser records(150000);
  ASSERT_TRUE(feed(records, bytes, 4096));
  EXPECT_EQ(records.state(), State::kComplete);
  EXPECT_TRUE(records.body_too_large());
  EXPECT_LT(records.wire().size(), 200U);
  const auto request = FcgiRequestReader().read(records);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->fault, RequestFault::kBodyTooLarge);
  EXPECT_EQ(request->body, "");
}

TEST(FcgiRecords, ABodyOfExactlyTheLimitIsTaken) {
  FcgiRequestParser records(size_t{65535} * 2);
  ASSERT_TRUE(feed(
      records, begin(1, 0) + params(1, {}) + stdin_stream(1, std::string(size_t{65535} * 2, 'x')), 10000));
  EXPECT_FALSE(records.body_too_large());
  EXPECT_EQ(FcgiRequestReader().read(records)->body.size(), size_t{65535} * 2);
  FcgiRequestParser shorter(size_t{65535} * 2 - 1);
  ASSERT_TRUE(feed(
      shorter, begin(1, 0) + params(1, {}) + stdin_stream(1, std::string(size_t{65535} * 2, 'x')), 10000));
  EXPECT_TRUE(shorter.body_too_large());
}

TEST(FcgiRecords, EachRequestOfAConnectionHasTheLimitOfItsTime) {
  const std::string bytes = begin(1, FCGI_KEEP_CONN) + params(1, {}) + stdin_stream(1, "body");
  FcgiRequestParser records(4);
  for (const size_t limit : {3U, 4U, 3U}) {
    ASSERT_TRUE(feed(records, bytes, 99));
    EXPECT_EQ(records.state(), State::kComplete);
    records.expect_next(limit);
    ASSERT_TRUE(feed(records, bytes, 99));
    EXPECT_EQ(records.body_too_large(), limit < 4);
    records.expect_next(4);
  }
}

TEST(FcgiRecords, ARequestWithoutParametersOrBodyIsWhole) {
  FcgiRequestParser records(kMaxBody);
  ASSERT_TRUE(feed(records, begin(65535, 0) + params(65535, {}) + record(FCGI_STDIN, 65535, ""), 5));
  EXPECT_EQ(records.state(), State::kComplete);
  EXPECT_FALSE(records.keep_conn());
  EXPECT_TRUE(FcgiRequestReader().read(records));
}

class FcgiRequests : public testing::Test {
 protected:
  std::optional<Request> read(const wire::Pairs& pairs, const std::string& body) {
    FcgiRequestParser records(1 << 20);
    EXPECT_TRUE(feed(records, begin(1, 0) + params(1, pairs) + stdin_stream(1, body), 1 << 16));
    wire_ = records.wire();
    return reader_.read(records);
  }
  [[nodiscard]] const std::string& wire() const { return wire_; }

  // What libfcgi can read: the file from which it has read the last request.
  static std::string file() {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      if (!std::filesystem::read_symlink(entry, gone).string().starts_with("/memfd:fastcgi-request"))
        continue;
      std::ostringstream bytes;
      bytes << std::ifstream(entry.path()).rdbuf();
      return bytes.str();
    }
    throw std::runtime_error("there is no such file");
  }

 private:
  std::string wire_;
  FcgiRequestReader reader_;
};

TEST_F(FcgiRequests, AreReadWithTheirHeaders) {
  const auto request = read({{"REQUEST_METHOD", "POST"},
                             {"REQUEST_URI", "/myapi/v1/chat-bot?x=/y"},
                             {"SCRIPT_NAME", "/index.php"},
                             {"HTTP_HOST", "example.com"},
                             {"HTTP_ORIGIN", "https://example.com"},
                             {"HTTP_IF_NONE_MATCH", "\"x\""},
                             {"HTTP_IDEMPOTENCY_KEY", "k"},
                             {"HTTP_CACHE_CONTROL", "max-age=0, No-Cache"},
                             {"REQUEST_ID", "0123abc"},
                             {"CONTENT_LENGTH", "2"}},
                            "{}");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->path, "/myapi/v1/chat-bot");
  EXPECT_EQ(request->host, "example.com");
  EXPECT_EQ(request->origin, "https://example.com");
  EXPECT_EQ(request->if_none_match, "\"x\"");
  EXPECT_EQ(request->idempotency_key, "k");
  EXPECT_TRUE(request->is_no_cache);
  EXPECT_EQ(request->request_id, "0123abc");
  EXPECT_EQ(request->body, "{}");
}

TEST_F(FcgiRequests, WithoutUriGoByTheScriptsName) {
  EXPECT_EQ(read({{"DOCUMENT_URI", "/a"}, {"SCRIPT_NAME", "/b"}}, "")->path, "/a");
  EXPECT_EQ(read({{"SCRIPT_NAME", "/b"}}, "")->path, "/b");
  EXPECT_EQ(read({}, "")->path, "");
}

TEST_F(FcgiRequests, KeepTheIdOfTheWebServer) {
  for (const std::string& id :
       {std::string("a"), std::string(32, '7'), std::string(128, 'f'), std::string("a-B_c.1")})
    EXPECT_EQ(read({{"REQUEST_ID", id}}, "")->request_id, id);
}

TEST_F(FcgiRequests, WithAnUnusableIdGetAFreshOne) {
  for (const std::string& id :
       {std::string("a\r\nX: y"), std::string("a b"), std::string(129, 'f'), std::string()}) {
    const std::string fresh = read({{"REQUEST_ID", id}}, "")->request_id;
    EXPECT_EQ(fresh.size(), 32U);
    EXPECT_NE(fresh, read({}, "")->request_id);
  }
}

TEST_F(FcgiRequests, HaveAnIdOfAtMost128Bytes) {
  const std::string longest(128, 'x');
  EXPECT_EQ(read({{"REQUEST_ID", longest}}, "")->request_id, longest);
  EXPECT_EQ(read({{"REQUEST_ID", longest + "x"}}, "")->request_id.size(), 32U);
}

TEST_F(FcgiRequests, NeverHoldAnOriginThatCouldForgeAHeader) {
  EXPECT_EQ(read({{"HTTP_ORIGIN", "https://a\r\nX: y"}}, "")->origin, "null");
}

TEST_F(FcgiRequests, WhoseLengthIsNotTheBodysAreFaulty) {
  for (const char* length : {"3", "1", "x", "2x", " 2", "+2", "-2", "0x2", "18446744073709551618"}) {
    const auto request = read({{"CONTENT_LENGTH", length}}, "{}");
    EXPECT_EQ(request->fault, RequestFault::kBadLength) << length;
    EXPECT_EQ(request->body, "");
  }
}

TEST_F(FcgiRequests, OfUnknownLengthAreTakenAsTheyCome) {
  for (const char* length : {"", "-1"}) {
    const auto request = read({{"CONTENT_LENGTH", length}}, "{}");
    EXPECT_EQ(request->fault, RequestFault::kNone) << length;
    EXPECT_EQ(request->body, "{}");
  }
}

TEST_F(FcgiRequests, KeepEveryByteOfABodyOfAMegabyte) {
  std::string body;
  for (size_t i = 0; i < (1 << 20); ++i) body += static_cast<char>(i * 7 + i / 256);
  EXPECT_EQ(read({}, body)->body, body);
  EXPECT_EQ(read({}, "short")->body, "short") << "nothing of the earlier request is left";
}

// In a separate process: leaves libfcgi no memory for the request.
[[noreturn]] void read_without_memory_and_end() {
  FcgiRequestParser records(kMaxBody);
  EXPECT_TRUE(feed(records, begin(1, 0) + params(1, {}) + stdin_stream(1, ""), 1 << 16));
  FcgiRequestReader reader;
  constexpr rlimit kNone = {0, 0};
  ::setrlimit(RLIMIT_AS, &kNone);
  for (size_t size = size_t{1} << 20; size > 16; size /= 2) {
    while (std::malloc(size) != nullptr) {
    }
  }
  try {
    static_cast<void>(reader.read(records));
  } catch (const std::bad_alloc&) {
    ::_exit(0);
  }
  ::_exit(1);
}

TEST_F(FcgiRequests, WithoutMemoryThrowPastLibfcgi) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs all address space there is";
  EXPECT_EXIT(read_without_memory_and_end(), testing::ExitedWithCode(0), "");
}

TEST_F(FcgiRequests, AreTheLastInTheFileThatLibfcgiReads) {
  for (const size_t size : {3000U, 10U, 60'000U, 200U, 70'000U, 10U, 500'000U, 10U, 20U}) {
    EXPECT_EQ(read({}, std::string(size, 'x'))->body.size(), size);
    EXPECT_TRUE(file().ends_with(wire())) << size << ": an earlier request follows";
  }
}

TEST_F(FcgiRequests, DoNotMakeTheFileGrow) {
  constexpr size_t kMaxBytes = 65536;
  for (int i = 0; i < 100; ++i) {
    read({}, std::string(10'000, 'x'));
    EXPECT_LE(file().size(), kMaxBytes + wire().size());
  }
}

}  // namespace
}  // namespace bailian
