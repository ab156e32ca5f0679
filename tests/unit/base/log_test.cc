#include "base/log.h"

#include <gtest/gtest.h>

#include "base/access_record.h"
#include "base/json.h"

namespace bailian {
namespace {

using std::chrono::milliseconds;

std::string text_line(const std::string& message, const LogFields& fields) {
  return format_log_line(LogFormat::kText, "T", LogLevel::kInfo, "event", message, fields);
}

TEST(Log, TextLinesAreForPeople) {
  EXPECT_EQ(text_line("two words", {{"a", "b"}, {"n", 5.0}, {"f", 1.25}, {"s", "x y"}, {"e", ""}}),
            "T info    event: two words a=b n=5 f=1.250 s=\"x y\" e=\"\"");
}

TEST(Log, HostileValuesCannotForgeALineOrMoveTheCursor) {
  EXPECT_EQ(text_line("a\nb", {{"p", "x\r\n\x1b[2J\x7f\xc2\x9b y\"=\0"}}),
            "T info    event: a\\x0ab p=\"x\\x0d\\x0a\\x1b[2J\\x7f\\xc2\\x9b y\\\"=\"");
  const std::string line =
      format_log_line(LogFormat::kJson, "T", LogLevel::kError, "event", "a\nb", {{"p", "\x1b\n"}});
  EXPECT_EQ(line, R"({"time":"T","level":"error","event":"event","message":"a\nb","p":"\u001B\n"})");
}

TEST(Log, NoLineShowsATerminalWhatItHeeds) {
  const std::string hostile =
      "C1 \u009b31m, DEL \x7f, turns \u202e\u2066\u061c, breaks \u2028\u2029, 杭州 Ø © ؠ";
  EXPECT_EQ(
      text_line(hostile, {{"p", "\u009b"}, {"q", "\x9b"}}),
      "T info    event: C1 \\xc2\\x9b31m, DEL \\x7f, turns \\xe2\\x80\\xae\\xe2\\x81\\xa6\\xd8\\x9c, breaks "
      "\\xe2\\x80\\xa8\\xe2\\x80\\xa9, 杭州 Ø © ؠ p=\\xc2\\x9b q=\"\\\\x9b\"");
  const std::string line =
      format_log_line(LogFormat::kJson, "T", LogLevel::kError, "event", hostile, {{"p", "\u009b"}});
  EXPECT_EQ(line, R"({"time":"T","level":"error","event":"event","message":"C1 \u009b31m, DEL \u007f, turns )"
                  R"(\u202e\u2066\u061c, breaks \u2028\u2029, 杭州 Ø © ؠ","p":"\u009b"})");
  JsonDocument document;
  ASSERT_FALSE(parse_json(line, document));
  EXPECT_EQ(as_view(document["message"]), hostile) << "nothing is lost";
}

TEST(Log, AQuoteInAValueEndsItNot) {
  EXPECT_EQ(text_line("", {{"path", R"(/" outcome="done)"}}), R"(T info    event path="/\" outcome=\"done")");
  EXPECT_EQ(text_line("", {{"path", R"(/" \)"}, {"n", 1.0}}), R"(T info    event path="/\" \\" n=1)");
}

TEST(Log, JsonLinesAreJson) {
  const std::string line = format_log_line(LogFormat::kJson, "T", LogLevel::kWarning, "e", "",
                                           {{"a", "\"b\\ 杭"}, {"n", 7.0}, {"f", 0.5}});
  JsonDocument document;
  ASSERT_FALSE(parse_json(line, document));
  EXPECT_STREQ(document["a"].GetString(), "\"b\\ 杭");
  EXPECT_EQ(document["n"].GetInt(), 7);
  EXPECT_EQ(document["f"].GetDouble(), 0.5);
}

TEST(Log, BytesThatAreNoTextStillMakeALineOfJson) {
  JsonDocument document;
  EXPECT_FALSE(parse_json(
      format_log_line(LogFormat::kJson, "T", LogLevel::kInfo, "e", "", {{"p", "/\xff\xfe"}}), document));
  EXPECT_FALSE(
      parse_json(format_log_line(LogFormat::kJson, "T", LogLevel::kInfo, "e", "a\xff", {}), document));
}

TEST(Log, ARequestsLineLeavesOutWhatDoesNotApply) {
  AccessRecord record;
  record.started = Clock::now();
  record.request_id = "id";
  record.method = "GET";
  record.path = "/health";
  record.status = 200;
  const auto line = [&] {
    return format_log_line(LogFormat::kJson, "T", LogLevel::kInfo, "request", "",
                           request_fields(record, record.started + milliseconds(20)));
  };
  EXPECT_EQ(
      line(),
      R"({"time":"T","level":"info","event":"request","request_id":"id","method":"GET","path":"/health",)"
      R"("status":200,"outcome":"done","bytes":0,"duration_ms":20})");
  record.first_token = record.started + milliseconds(5);
  record.usage = Usage{3, 4};
  record.outcome = Outcome::kClientGone;
  record.upstream_code = "C";
  record.upstream_request_id = "u";
  EXPECT_EQ(
      line(),
      R"({"time":"T","level":"info","event":"request","request_id":"id","method":"GET","path":"/health",)"
      R"("status":200,"outcome":"client_gone","bytes":0,"ttft_ms":5,"duration_ms":20,"input_tokens":3,)"
      R"("output_tokens":4,"upstream_code":"C","upstream_request_id":"u"})");
}

}  // namespace
}  // namespace bailian
