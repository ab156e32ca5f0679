// A streamed answer as a browser sees it. read_stream() checks every event of every test.

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class Stream : public SharedSite<Stream> {};

TEST_F(Stream, FirstTokenArrivesBeforeTheLastIsProduced) {
  auto exchange = site().stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  EXPECT_EQ(site().simulator().count("completed"), 0);

  site().simulator().release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
}

TEST_F(Stream, TokensKeepTheirOrder) {
  auto answer = read_stream(site().stream("[[sim events=500]]"));
  EXPECT_EQ(answer.text, tokens(500));
  EXPECT_EQ(answer.pieces.size(), 500U);
}

TEST_F(Stream, EndsWithOneTerminalEventThatCarriesUsageAndIds) {
  auto exchange = site().stream("[[sim events=3]]");
  const auto answer = read_stream(exchange);
  EXPECT_TRUE(bool_at(answer.last, "/success"));
  EXPECT_EQ(text_at(answer.last, "/message"), "Stream completed");
  EXPECT_FALSE(text_at(answer.last, "/session_id").empty());
  EXPECT_GT(number_at(answer.last, "/usage/input_tokens"), 0);
  EXPECT_GT(number_at(answer.last, "/usage/output_tokens"), 0);
  EXPECT_EQ(text_at(answer.last, "/request_id"), exchange.headers().get("X-Nginx-Request-Id"));
}

TEST_F(Stream, CarriesOnlyItsOwnHeaders) {
  auto exchange = site().stream("[[sim events=3]]");
  const std::set<std::string> known{"Server",
                                    "Date",
                                    "Content-Type",
                                    "Transfer-Encoding",
                                    "Connection",
                                    "Cache-Control",
                                    "X-Request-Id",
                                    "X-Content-Type-Options",
                                    "Access-Control-Allow-Origin",
                                    "X-Nginx-Request-Id",
                                    "Access-Control-Expose-Headers"};
  std::multiset<std::string> seen;
  for (const auto& [name, value] : exchange.headers()) seen.insert(name);
  for (const auto& name : seen) EXPECT_TRUE(known.contains(name)) << name;
  for (const auto& name : known) EXPECT_EQ(seen.count(name), 1U) << name;
  EXPECT_EQ(exchange.headers().get("Access-Control-Allow-Origin"), "*");
}

TEST_F(Stream, TellsNginxNotToBuffer) {
  FcgiPeer peer(site().fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3]]")));
  EXPECT_EQ(peer.read_reply().response.headers.get("X-Accel-Buffering"), "no");
}

TEST_F(Stream, ManyTokensInOneUpstreamWriteStayWholeEvents) {
  auto answer = read_stream(site().stream("[[sim events=100 batch=10 interval=5]]"));
  EXPECT_EQ(answer.text, tokens(100));
}

TEST_F(Stream, ALongTextIsCutIntoEventsOfAtMostFourKibibytes) {
  auto answer = read_stream(site().stream("[[sim bytes=20000]]"));
  EXPECT_EQ(answer.text, std::string(20000, 'x'));
  EXPECT_GE(answer.pieces.size(), 5U);
}

TEST_F(Stream, ALongTextIsCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 1500; ++i) text += "杭州\"a👩‍👧";  // cuts are not at multiples of a size
  auto answer = read_stream(site().stream("[[sim text=echo piece=20000]] " + text));
  EXPECT_EQ(answer.text, text);  // and each event by itself was valid UTF-8
  EXPECT_GE(answer.pieces.size(), 7U);
}

TEST_F(Stream, AVeryLongTextArrivesWhole) {
  auto exchange = site().stream("[[sim bytes=900000]]");
  const auto answer = read_stream(exchange, Chunks::kMayCutEvents);
  EXPECT_EQ(answer.text, std::string(900'000, 'x'));
}

TEST_F(Stream, UpstreamWritesOfAnySizeMakeTheSameAnswer) {
  for (int size : {1, 2, 3, 7, 64, 1000, 100000}) {
    SCOPED_TRACE(size);
    auto answer = read_stream(
        site().stream("[[sim example=02-stream-incremental chunk=" + std::to_string(size) + "]]"));
    EXPECT_EQ(
        answer.text,
        "你好，世界！👋\n第二行：\"引号\" 与 \\ 反斜杠，家庭 👨‍👩‍👧 表情");
  }
}

class StreamText : public SharedSite<StreamText>, public testing::WithParamInterface<std::string> {};

TEST_P(StreamText, ArrivesUnchanged) {
  for (const char* piece : {"1", "2", "3", "1000"}) {
    SCOPED_TRACE(piece);
    auto answer =
        read_stream(site().stream("[[sim text=echo piece=" + std::string(piece) + "]] " + GetParam()));
    EXPECT_EQ(answer.text, GetParam());
    EXPECT_TRUE(bool_at(answer.last, "/success"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Texts, StreamText,
    testing::Values("春眠不觉晓，处处闻啼鸟。", "plain", " spaces around ", "família naïve Ω≈ç√ ∫ µ",
                    "👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇳 e\u0301 \U0010FFFF",
                    "\"quotes\" 'single' \\ backslash \\\\ \\n \\u0041",
                    "line\nbreaks\r\nand\ttabs\n\n\nblank lines", "separators \u2028 and \u2029 and \u0085",
                    "\ufeffbyte order mark", "\u0001\u0002\u0008\u000b\u000c\u001b\u001f\u007f controls",
                    std::string("a\0zero\0", 7),
                    "data: {\"success\":true}\n\ndata: [DONE]\n\n: keep-alive\n\n",
                    "</script><!-- & &amp; <b>", "# Markdown\n\n```c\nint main() {}\n```\n| a | b |\n",
                    "%s %n %d {} {0}"));

// A stream with a scripted upstream.
class PacedStream : public testing::Test {
 protected:
  ScriptedUpstream upstream_;
  Site site_{{.settings = {{"DASHSCOPE_BASE_URL", upstream_.base_url()}}}};
};

TEST_F(PacedStream, EachTokenIsOneChunkThatLeavesBeforeTheNextIsThere) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send_stream_head();
  for (int i = 1; i <= 20; ++i) {
    call.send_text("piece " + std::to_string(i));
    EXPECT_EQ(read_text(exchange), "piece " + std::to_string(i));
    EXPECT_EQ(exchange.chunks().size(), static_cast<size_t>(i));
  }
  call.finish();
  EXPECT_TRUE(bool_at(read_stream(exchange).last, "/success"));
}

TEST_F(PacedStream, EachTokenIsOneFastCgiRecord) {
  FcgiPeer peer(site_.fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  auto call = upstream_.accept();
  call.send_stream_head();
  call.send_text("long " + std::string(9000, 'y'));
  for (int i = 0; i < 50; ++i) call.send_text("short");
  call.finish();
  const auto records = peer.read_reply().records;
  EXPECT_GT(records.size(), 3U);
  for (const auto& record : records) {
    // The head may be a separate record when the first event is long.
    EXPECT_TRUE(record.ends_with("\n\n") || record.ends_with("\r\n\r\n")) << "cut event: " << record;
    EXPECT_LE(record.size(), 4096U);
  }
}

TEST_F(PacedStream, TheFirstTokenComesWithTheHead) {
  FcgiPeer peer(site_.fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  auto call = upstream_.accept();
  call.send_stream_head();
  call.send_text("first");
  call.finish();
  const auto first = peer.read_reply().records.at(0);
  EXPECT_TRUE(first.starts_with("Status: 200")) << first;
  EXPECT_NE(first.find("\r\n\r\ndata: "), std::string::npos) << first;
}

TEST_F(PacedStream, LongTextsOneAfterTheOtherArriveWhole) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  std::jthread upstream([&] {
    call.send_stream_head();
    for (int i = 0; i < 20; ++i) call.send_text(std::string(100'000, static_cast<char>('a' + i)));
    call.finish();
  });
  const auto answer = read_stream(exchange, Chunks::kMayCutEvents);
  EXPECT_TRUE(bool_at(answer.last, "/success"));
  ASSERT_EQ(answer.text.size(), 2'000'000U);
  for (size_t i = 0; i < 20; ++i)
    EXPECT_EQ(answer.text.substr(i * 100'000, 100'000), std::string(100'000, static_cast<char>('a' + i)));
}

TEST_F(PacedStream, AnEventCutInAMultibyteCharacterWaitsForItsRest) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
  const auto event = result_event("表情👋");
  const auto middle = event.find("👋") + 2;
  call.send(result_event("first"));
  call.send(event.substr(0, middle));
  EXPECT_EQ(read_text(exchange), "first");
  call.send(event.substr(middle));
  EXPECT_EQ(read_text(exchange), "表情👋");
  call.send(result_event("", "stop"));
  call.close();
  EXPECT_TRUE(bool_at(read_stream(exchange).last, "/success"));
}

TEST_F(PacedStream, TextThatComesWithTheStopIsPartOfTheAnswer) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
  call.send(result_event("almost ") + result_event("all", "stop"));
  call.close();
  const auto answer = read_stream(exchange);
  EXPECT_EQ(answer.text, "almost all");
  EXPECT_TRUE(bool_at(answer.last, "/success"));
}

TEST_F(PacedStream, TheStatusLineWaitsForTheFirstEvent) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send_stream_head();  // 200 from the upstream is not yet an answer
  call.send_chunk("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"DataInspectionFailed\"}\n\n");
  call.send("0\r\n\r\n");
  expect_error(exchange.read_all(), 400, "content_rejected", "API Error");
}

}  // namespace
}  // namespace bailian::e2e
