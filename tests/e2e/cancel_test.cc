// Tokens cost money: when the browser leaves, the upstream transfer is cancelled, in every phase.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class Cancel : public testing::Test {
 protected:
  void expect_cancelled(const char* path) {
    EXPECT_TRUE(site_.simulator().reaches("cut", 1));
    EXPECT_TRUE(site_.simulator().falls_to("open", 0));
    EXPECT_EQ(site_.simulator().count("completed"), 0);
    EXPECT_EQ(text_at(site_.responder().request_line_for_path(path), "/outcome"), "client_gone");
  }

  Site site_;
};

TEST_F(Cancel, BeforeTheFirstToken) {
  auto exchange = site_.stream("[[sim events=5 hold=0]]");
  EXPECT_TRUE(site_.simulator().reaches("held", 1));
  exchange.close();
  expect_cancelled(kStreamPath);
}

TEST_F(Cancel, InMidStream) {
  auto exchange = site_.stream("[[sim events=5 hold=2]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  EXPECT_EQ(read_text(exchange), "tok2 ");
  exchange.close();
  expect_cancelled(kStreamPath);
  const auto line = site_.responder().request_line_for_path(kStreamPath);
  EXPECT_NE(text_at(line, "/upstream_request_id"), "") << "what support and billing go by";
}

TEST_F(Cancel, WhileTokensFlow) {
  auto exchange = site_.stream("[[sim events=100000 interval=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  exchange.close();
  expect_cancelled(kStreamPath);
}

TEST_F(Cancel, AtTheNonStreamedEndpoint) {
  auto exchange = site_.chat("[[sim events=5 hold=0]]");
  EXPECT_TRUE(site_.simulator().reaches("held", 1));
  exchange.close();
  expect_cancelled(kChatPath);
}

TEST_F(Cancel, WhenTheUpstreamHangs) {
  auto exchange = site_.stream("[[sim fault=hang]]");
  EXPECT_TRUE(site_.simulator().reaches("open", 1));
  exchange.close();
  expect_cancelled(kStreamPath);
}

TEST_F(Cancel, WhenTheServerInFrontAsksByAnAbortRecord) {
  FcgiPeer peer(site_.fastcgi());
  peer.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=5 hold=0]]")));
  EXPECT_TRUE(site_.simulator().reaches("held", 1));
  peer.send(fcgi::record(fcgi::kAbort, ""));
  expect_cancelled(kStreamPath);
}

TEST_F(Cancel, WhenThePeerLeavesRightAfterAsking) {
  FcgiPeer(site_.fastcgi()).send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=5 hold=0]]")));
  EXPECT_EQ(text_at(site_.responder().request_line_for_path(kStreamPath), "/outcome"), "client_gone");
  EXPECT_TRUE(site_.simulator().falls_to("open", 0));
}

TEST_F(Cancel, OneOfManyLeavesTheOthersAlone) {
  std::vector<Exchange> exchanges;
  exchanges.reserve(20);
  for (int i = 0; i < 20; ++i) exchanges.push_back(site_.stream("[[sim events=5 hold=1]]"));
  EXPECT_TRUE(site_.simulator().reaches("held", 20));
  for (size_t i = 0; i < exchanges.size(); i += 2) exchanges[i].close();
  EXPECT_TRUE(site_.simulator().reaches("cut", 10));

  site_.simulator().release();
  for (size_t i = 1; i < exchanges.size(); i += 2) EXPECT_EQ(read_stream(exchanges[i]).text, tokens(5));
  EXPECT_EQ(site_.simulator().count("cut"), 10);
}

class CancelScripted : public testing::Test {
 protected:
  ScriptedUpstream upstream_;
  Site site_{{.settings = {{"DASHSCOPE_BASE_URL", upstream_.base_url()}, {"HEARTBEAT", "1"}}}};

  std::string outcome() { return text_at(site_.responder().request_line_for_path(kStreamPath), "/outcome"); }
};

TEST_F(CancelScripted, WhileOnlyTheHeartBeats) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  EXPECT_EQ(exchange.read_event(), ": keep-alive");
  exchange.close();
  EXPECT_TRUE(call.is_dropped());
  EXPECT_EQ(outcome(), "client_gone");
}

TEST_F(CancelScripted, WhileTheUpstreamSendsAnEventByHalves) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send_stream_head();
  call.send_text("first");
  call.send("100\r\nid:2\nevent:result\ndata:{\"output\"");
  EXPECT_EQ(read_text(exchange), "first");
  exchange.close();
  EXPECT_TRUE(call.is_dropped());
  EXPECT_EQ(outcome(), "client_gone");
}

TEST_F(CancelScripted, WhileTheNextTryWaits) {
  auto exchange = site_.stream("hello");
  auto call = upstream_.accept();
  call.send("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n");
  exchange.close();
  EXPECT_EQ(outcome(), "client_gone");
}

}  // namespace
}  // namespace bailian::e2e
