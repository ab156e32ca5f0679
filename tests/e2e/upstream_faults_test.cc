// A hostile or broken upstream, byte by byte: each fault is one error for its visitor and does not affect the
// others.

#include <gtest/gtest.h>

#include <string>
#include <system_error>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

void expect_others_are_served(Site& site) {
  EXPECT_EQ(site.get(kHealthPath).status, 200);
  EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
}

TEST(Dribble, AByteASecondIsNoFirstToken) {
  Site site({.settings = {{"FIRST_TOKEN_TIMEOUT", "2"}, {"UPSTREAM_RETRIES", "0"}}});
  auto dribbled = site.stream("[[sim fault=dribble interval=1000]]");
  expect_others_are_served(site);
  expect_error(dribbled.read_all(), 504, "upstream_timeout", "Connection timeout");
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

TEST(Dribble, AByteASecondDoesNotPutOffTheEndOfTheWhole) {
  Site site({.settings = {{"TIMEOUT", "2"}, {"UPSTREAM_RETRIES", "0"}}});
  auto streamed = site.stream("[[sim fault=dribble interval=1000]]");
  auto whole = site.chat("[[sim fault=dribble interval=1000]]");
  expect_error(streamed.read_all(), 504, "upstream_timeout", "Connection timeout");
  expect_error(whole.read_all(), 504, "upstream_timeout", "Connection timeout");
  EXPECT_TRUE(site.simulator().reaches("cut", 2));
}

// Input that is too long is dropped at the limit and not kept.
class Endless : public testing::Test {
 protected:
  void expect_memory_bounded(int64_t kib_before) {
    if (is_sanitized()) return;
    EXPECT_LT(site_.responder().process().peak_memory_kib() - kib_before, 8 * 1024);
  }
  int64_t memory_after_warm_up() {
    expect_others_are_served(site_);
    site_.simulator().reset();
    return site_.responder().process().peak_memory_kib();
  }

  Site site_{{.settings = {{"UPSTREAM_RETRIES", "0"}}}};
};

TEST_F(Endless, AnEventOfTenMegabytesIsRefused) {
  const auto before = memory_after_warm_up();
  const auto answer = read_stream(site_.stream("[[sim events=3 fault=huge]]"));
  EXPECT_EQ(answer.text, tokens(2));
  expect_failed(answer, "upstream_error");
  EXPECT_TRUE(site_.simulator().reaches("cut", 1));
  expect_memory_bounded(before);
}

TEST_F(Endless, AWholeAnswerOfTenMegabytesIsRefused) {
  const auto before = memory_after_warm_up();
  expect_error(site_.ask("[[sim bytes=10000000]]"), 502, "upstream_error", "API Error");
  EXPECT_TRUE(site_.simulator().reaches("cut", 1));
  expect_memory_bounded(before);
}

TEST_F(Endless, ALineOfSixtyFourMegabytesIsRefused) {
  const auto before = memory_after_warm_up();
  expect_error(site_.stream("[[sim fault=endless-line]]").read_all(), 502, "upstream_error", "API Error");
  EXPECT_TRUE(site_.simulator().reaches("cut", 1));
  expect_memory_bounded(before);
}

// A site with a scripted upstream.
class Scripted : public testing::Test {
 protected:
  static SiteOptions options(const ScriptedUpstream& upstream) {
    return {.settings = {{"DASHSCOPE_BASE_URL", upstream.base_url()}, {"UPSTREAM_RETRIES", "0"}}};
  }

  ScriptedUpstream upstream_;
  Site site_{options(upstream_)};
};

TEST_F(Scripted, AnUpstreamCannotShowTheKey) {
  const std::string key(kApiKey);
  for (const char* path : {kStreamPath, kChatPath}) {
    SCOPED_TRACE(path);
    auto exchange = site_.browser().send({.method = "POST", .path = path, .body = chat_body("hello")});
    const auto call = upstream_.accept();
    call.send_stream_head();
    call.send_text("The key is " + key.substr(0, 9));
    call.send_text(key.substr(9) + ".");
    call.send_chunk("data:{\"output\":{\"session_id\":\"" + key + R"(","finish_reason":"stop","text":"",)" +
                    R"("doc_references":[{"index_id":"1","title":"see )" + key +
                    R"(","doc_url":"https://a/)" + key + "\"}]},\"request_id\":\"" + key + "\"}\n\n");
    call.send("0\r\n\r\n");
    const auto answer = exchange.read_all();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body.find(key), std::string::npos) << answer.body;
    EXPECT_EQ(answer.body.find(key.substr(9)), std::string::npos) << answer.body;
    EXPECT_NE(answer.body.find(R"("title":"see ***")"), std::string::npos) << answer.body;
  }
  EXPECT_EQ(site_.responder().log().find(key), std::string::npos);
}

TEST_F(Scripted, NoiseInAnEventStreamIsNoFaultAndCostsNoMemory) {
  const auto& responder = site_.responder().process();
  EXPECT_EQ(site_.get(kHealthPath).status, 200);
  const auto before = responder.peak_memory_kib();
  auto exchange = site_.stream("hello");
  const auto call = upstream_.accept();
  call.send_stream_head();
  const std::string mark = "\xef\xbb\xbf";
  call.send_chunk("\n\n" + mark + mark + "identity: unknown\n<p>a line</p>\n\n");
  for (const std::string start : {": a comment ", "unknown: "}) {
    call.send_chunk(start);
    for (int i = 0; i < 320; ++i) call.send_chunk(std::string(65536, 'x'));
    call.send_chunk("\n" + mark + result_event(start == "unknown: " ? "b" : "a"));
  }
  call.finish();
  const auto answer = read_stream(exchange);
  EXPECT_EQ(answer.text, "ab");
  EXPECT_TRUE(bool_at(answer.last, "/success"));
  if (!is_sanitized()) {
    EXPECT_LT(responder.peak_memory_kib() - before, 4 * 1024);
  }
}

TEST_F(Scripted, EndlessHeadersAreRefused) {
  auto exchange = site_.stream("hello");
  const auto call = upstream_.accept();
  call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
  const std::string line = "X-More: " + std::string(4000, 'x') + "\r\n";
  EXPECT_THROW(
      {
        for (int i = 0; i < 10'000; ++i) call.send(line);
      },
      std::system_error);
  expect_error(exchange.read_all(), 502, "upstream_error", "Connection failed");
}

TEST_F(Scripted, EndlessInterimAnswersAreNoAnswer) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  for (int i = 0; i < 100; ++i) call.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
  EXPECT_EQ(site_.get(kHealthPath).status, 200);
  call.close();
  expect_error(exchange.read_all(), 502, "upstream_error", "Connection failed");
}

TEST_F(Scripted, ARedirectIsFollowedNeitherWithTheKeyNorWithTheConversation) {
  for (const char* status : {"301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
                             "308 Permanent Redirect"}) {
    SCOPED_TRACE(status);
    const ScriptedUpstream elsewhere;
    auto exchange = site_.stream("hello");
    const auto call = upstream_.accept();
    call.send("HTTP/1.1 " + std::string(status) + "\r\nLocation: " + elsewhere.base_url() +
              "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    expect_error(exchange.read_all(), 502, "upstream_error", "API Error");
    EXPECT_FALSE(elsewhere.is_called());
    EXPECT_FALSE(upstream_.is_called());
  }
}

// With a line break that would add headers and log lines.
TEST_F(Scripted, WhatAnErrorSaysCannotForgeHeadersOrLogLines) {
  const std::string forged = R"(\r\nSet-Cookie: stolen=1\r\n\r\n\n{\"event\":\"forged\"})";
  const auto body =
      R"({"code":"Bad)" + forged + R"(","message":")" + forged + R"(","request_id":")" + forged + R"("})";
  for (const char* path : {kStreamPath, kChatPath}) {
    FcgiPeer peer(site_.fastcgi());
    peer.send(fcgi::request("POST", path, chat_body(std::string("hello at ") + path)));
    upstream_.accept().send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: " +
                            std::to_string(body.size()) + "\r\n\r\n" + body);
    const auto answer = peer.read_reply().response;
    expect_error(answer, 502, "upstream_error", "API Error");
    site_.responder().request_line(answer.headers.get("X-Request-Id"));
  }
  EXPECT_EQ(site_.responder().log().find("\n{\"event\":\"forged\""), std::string::npos);
}

TEST_F(Scripted, AKeptConnectionThatWasClosedMeanwhileIsReplaced) {
  for (int i = 0; i < 3; ++i) {
    auto first = site_.stream("hello");
    auto kept = upstream_.accept();
    kept.send_stream_head();
    kept.send_text("first");
    kept.finish();
    EXPECT_EQ(read_stream(first).text, "first");

    kept.close();
    auto second = site_.stream("hello again");
    auto call = upstream_.accept();
    EXPECT_NE(call.body().find("hello again"), std::string::npos);
    call.send_stream_head();
    call.send_text("second");
    call.finish();
    const auto answer = read_stream(second);
    EXPECT_EQ(answer.text, "second");
    EXPECT_TRUE(bool_at(answer.last, "/success"));
    call.close();
  }
}

// Bytes that libcurl holds while a transfer is paused are read when it resumes. A fault in them must be
// reported at once, although the upstream sends nothing more.
TEST_F(Scripted, AFaultBehindWhatASlowVisitorReadsIsToldAtOnce) {
  FcgiPeer peer(site_.fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("hello")));
  const auto call = upstream_.accept();
  call.send_stream_head();
  call.send(chunk(result_event(std::string(150'000, 'x'))) + chunk("data:{broken\n\n"));
  const auto reply = peer.read_reply();
  EXPECT_NE(reply.response.body.find(R"("code":"upstream_error")"), std::string::npos)
      << reply.response.body.substr(reply.response.body.size() - 500);
}

}  // namespace
}  // namespace bailian::e2e
