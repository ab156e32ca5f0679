// Many visitors at once, slow ones among fast ones.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

constexpr int kMany = 200;

// Starts all exchanges before it reads the first.
template <class Starter>
std::vector<Exchange> start(int count, Starter starter) {
  std::vector<Exchange> exchanges;
  exchanges.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) exchanges.push_back(starter(i));
  return exchanges;
}

// Each answer must belong to its question.
void expect_all_answered(Site& site, int count) {
  auto exchanges = start(count, [&](int i) {
    return site.stream("[[sim text=echo hold=1]] visitor " + std::to_string(i) + " 问题");
  });
  EXPECT_TRUE(site.simulator().reaches("held", count));
  site.simulator().release();
  for (int i = 0; i < count; ++i) {
    const auto answer = read_stream(exchanges[static_cast<size_t>(i)]);
    EXPECT_EQ(answer.text, "visitor " + std::to_string(i) + " 问题");
    EXPECT_TRUE(bool_at(answer.last, "/success"));
  }
  EXPECT_EQ(site.simulator().count("completed"), count);
}

TEST(Load, TwoHundredStreamsAtOnce) {
  Site site;
  expect_all_answered(site, kMany);
}

TEST(Load, TwoHundredStreamsOverTwoWorkers) {
  Site site({.settings = {{"WORKERS", "2"}}});
  expect_all_answered(site, kMany);
}

TEST(Load, TwoHundredWholeAnswersAtOnce) {
  Site site;
  auto exchanges = start(kMany, [&](int) { return site.chat("[[sim events=3 hold=0]]"); });
  EXPECT_TRUE(site.simulator().reaches("held", kMany));
  site.simulator().release();
  for (auto& exchange : exchanges) EXPECT_EQ(text_at(exchange.read_all().json(), "/result"), tokens(3));
}

TEST(Load, ABusyStreamOfManyTokensIsComplete) {
  Site site;
  auto exchanges = start(20, [&](int) { return site.stream("[[sim events=100 interval=2]]"); });
  for (auto& exchange : exchanges) EXPECT_EQ(read_stream(exchange).text, tokens(100));
}

class SlowReader : public testing::Test {
 protected:
  // Asks for more than all buffers on the way can hold, and reads nothing.
  static Exchange ask_and_sleep(Site& site) { return site.stream("[[sim fault=flood]]"); }

  static void expect_served(Site& site) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(read_stream(site.stream("[[sim events=20]]")).text, tokens(20));
  }
};

TEST_F(SlowReader, DoesNotSlowTheOthersAndPausesItsUpstream) {
  Site site;
  auto sleeper = ask_and_sleep(site);
  EXPECT_EQ(sleeper.status(), 200);
  expect_served(site);
  EXPECT_EQ(site.simulator().count("completed"), 20);
  EXPECT_EQ(site.simulator().count("open"), 1);
  sleeper.close();
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
}

TEST_F(SlowReader, IsDroppedWhenItTakesNothingForTooLong) {
  Site site({.settings = {{"CLIENT_STALL_TIMEOUT", "1"}}});
  auto sleeper = ask_and_sleep(site);
  EXPECT_EQ(sleeper.status(), 200);
  EXPECT_TRUE(site.simulator().reaches("cut", 1));
  expect_served(site);
}

TEST_F(SlowReader, CostsNoMoreMemoryThanItsBuffer) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
  Site site;
  expect_served(site);
  const auto& responder = site.responder().process();
  const auto before = responder.peak_memory_kib();
  std::vector<Exchange> sleepers;
  for (int i = 0; i < 10; ++i) {
    sleepers.push_back(ask_and_sleep(site));
    EXPECT_EQ(sleepers.back().status(), 200);
  }
  expect_served(site);
  EXPECT_EQ(site.simulator().count("open"), 10);
  EXPECT_LT(responder.peak_memory_kib() - before, 10 * 1024);  // 256 KiB each, and room for the allocator
}

// The memory of a request beyond its body, in every phase in which it may wait.
class MemoryPerRequest : public testing::Test {
 protected:
  static constexpr int kCount = 150;
  static constexpr int64_t kMostKib = 256;

  // `start` brings one request into its phase and returns what keeps it there.
  template <class Start>
  void expect_small(Start start, int64_t body_kib = 0) {
    if (is_sanitized()) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
    const auto& responder = site_.responder().process();
    for (int i = 0; i < 20; ++i) read_stream(site_.stream("[[sim events=20]]"));
    const auto before = responder.memory_kib();
    std::vector<decltype(start())> all;
    all.reserve(kCount);
    for (int i = 0; i < kCount; ++i) all.push_back(start());
    for (int i = 0; i < 20; ++i) read_stream(site_.stream("[[sim events=20]]"));
    const auto each = (responder.memory_kib() - before) / kCount;
    RecordProperty("KibPerRequest", static_cast<int>(each));
    EXPECT_LE(each, kMostKib + body_kib);
  }

  FcgiPeer peer_that_sent(std::string_view bytes) const {
    FcgiPeer peer(site_.fastcgi());
    peer.send(bytes);
    return peer;
  }

  Site site_;
};

TEST_F(MemoryPerRequest, ThatIsSilent) {
  expect_small([&] { return peer_that_sent(""); });
}

TEST_F(MemoryPerRequest, WhoseParametersAreHalf) {
  const auto half =
      fcgi::begin() + fcgi::record(fcgi::kParams, fcgi::name_value("HTTP_X", std::string(60'000, 'x')));
  expect_small([&] { return peer_that_sent(half); });
}

TEST_F(MemoryPerRequest, WhoseBodyIsHalf) {
  const auto body = std::string(1'000'000, ' ');
  const auto half = fcgi::request("POST", kChatPath, body);
  expect_small([&] { return peer_that_sent(std::string_view(half).substr(0, 500'000)); }, 500'000 / 1024);
}

TEST_F(MemoryPerRequest, ThatIsKeptOpen) {
  expect_small([&] {
    auto peer = peer_that_sent(fcgi::request("GET", kHealthPath, "", true));
    peer.read_reply();
    return peer;
  });
}

TEST_F(MemoryPerRequest, ThatWaitsForItsFirstToken) {
  expect_small([&] { return site_.stream("[[sim events=2 hold=0]]"); });
}

TEST_F(MemoryPerRequest, ThatWaitsForItsFirstTokenWithALongConversation) {
  const auto body =
      R"({"last_prompt":"[[sim events=2 hold=0]]","conversation_history":[{"role":"user","content":")" +
      std::string(500'000, 'h') + R"("}]})";
  expect_small(
      [&] {
        auto exchange = site_.browser().send({.method = "POST", .path = kStreamPath, .body = body});
        return exchange;
      },
      500'000 / 1024);
}

TEST_F(MemoryPerRequest, ThatStreams) {
  expect_small([&] {
    auto exchange = site_.stream("[[sim events=9 hold=3]]");
    read_text(exchange);
    return exchange;
  });
}

TEST_F(MemoryPerRequest, WhoseVisitorReadsNothing) {
  expect_small([&] {
    auto exchange = site_.stream("[[sim fault=flood]]");
    exchange.status();
    return exchange;
  });
}

TEST_F(MemoryPerRequest, WhosePeerReadsNothing) {
  expect_small(
      [&] { return peer_that_sent(fcgi::request("POST", kStreamPath, chat_body("[[sim fault=flood]]"))); });
}

// The longest possible answers: of plain characters, and of characters that take six bytes each in JSON.
TEST(WholeAnswer, OfMegabytesTakesFewTimesItsSize) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
  constexpr int kBytes = 4'000'000;
  constexpr int64_t kMib = 1024;
  Site site({.settings = {{"LEDGER", ""}}});  // one event of a stream may not be that long
  EXPECT_EQ(site.ask("[[sim events=3]]").status, 200);
  const auto& responder = site.responder().process();
  const auto before = responder.memory_kib();
  FcgiPeer peer(site.fastcgi());
  peer.send(fcgi::request("POST", kChatPath, chat_body("[[sim bytes=" + std::to_string(kBytes) + "]]")));
  std::string answer = peer.read_stdout();  // by now all of it is waiting
  RecordProperty("KibWhileItWaits", static_cast<int>(responder.memory_kib() - before));
  RecordProperty("KibAtThePeak", static_cast<int>(responder.peak_memory_kib() - before));
  EXPECT_LT(responder.memory_kib() - before, 16 * kMib);
  EXPECT_LT(responder.peak_memory_kib() - before, 32 * kMib);
  answer = peer.read_reply().response.body;
  EXPECT_GT(answer.size(), 2U * kBytes);
  EXPECT_EQ(site.ask("[[sim events=3]]").status, 200);
  EXPECT_LT(responder.memory_kib() - before, 8 * kMib);
}

TEST(WholeAnswer, OfMegabytesOfControlCharactersIsRefused) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's own memory is not bounded";
  const ScriptedUpstream upstream;
  Site site({.settings = {{"DASHSCOPE_BASE_URL", upstream.base_url()}, {"UPSTREAM_RETRIES", "0"}}});
  EXPECT_EQ(site.get(kHealthPath).status, 200);
  const auto& responder = site.responder().process();
  const auto before = responder.memory_kib();
  auto exchange = site.chat("hello");
  auto call = upstream.accept();
  call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
  std::string text;
  for (int i = 0; i < 170'000; ++i) text += "\\u0001";
  try {
    for (int i = 0; i < 24; ++i) {
      call.send(R"(data:{"output":{"session_id":"s","finish_reason":"null","text":")" + text + "\"}}\n\n");
    }
  } catch (const std::exception&) {  // cut by then
  }
  expect_error(exchange.read_all(), 502, "upstream_error", "API Error");
  EXPECT_LT(responder.peak_memory_kib() - before, 32 * 1024);
}

TEST_F(SlowReader, MissesNothingOnceItReads) {
  Site site;
  auto sleeper = site.stream("[[sim events=30000 batch=100]]");
  EXPECT_EQ(sleeper.status(), 200);
  expect_served(site);
  const auto answer = read_stream(sleeper, Chunks::kMayCutEvents);
  EXPECT_EQ(answer.text, tokens(30000));
  EXPECT_TRUE(bool_at(answer.last, "/success"));
}

}  // namespace
}  // namespace bailian::e2e
