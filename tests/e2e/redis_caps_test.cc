// Three responders behind nginx share one ledger on a Redis server: they hold a cap together, and obey
// CAPS_ON_FAULT when the server is away.

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/nginx.h"
#include "harness/redis_server.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

constexpr int64_t kSlice = 64;
constexpr int64_t kExpectedInput = 30;

class RedisCaps : public testing::Test {
 protected:
  void start(const Settings& settings) {
    settings_ = settings;
    settings_.merge(site_settings(dir_, simulator_));
    settings_["LEDGER"] = redis_.url();
    settings_["LEDGER_SLICE"] = std::to_string(kSlice);
    settings_["CAP_EXPECTED_INPUT"] = std::to_string(kExpectedInput);
    std::string servers;
    for (size_t i = 0; i < responders_.size(); ++i) {
      const std::string socket = dir_.socket("fcgi" + std::to_string(i));
      settings_["FCGI_LISTEN"] = socket;
      responders_[i].emplace(responder_command(dir_, settings_));
      servers += "    server unix:" + socket + " max_fails=0;\n";
    }
    nginx_.emplace(dir_, "nginx",
                   "  upstream responders {\n" + servers + "  }\n" +
                       stock_server("unix:" + dir_.socket("web"), "responders"));
    EXPECT_TRUE(comes_true([&] { return are_ready(); }));
  }
  void TearDown() override {
    for (auto& responder : responders_) {
      if (!responder) continue;
      responder->process().signal(SIGTERM);
      EXPECT_EQ(responder->process().wait(), 0);
      check_log(responder->log());
      if (HasFailure()) std::cerr << responder->log();
    }
  }

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange send(const std::string& prompt) const {
    return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
  }
  // nginx asks them in turn.
  bool are_ready() const {
    for (size_t i = 0; i < responders_.size(); ++i) {
      if (browser().get(kReadyPath).status != 200) return false;
    }
    return true;
  }
  // The tokens that the ledger has counted.
  int64_t counted() const {
    const Finished usage = run(responder_command(dir_, settings_, {"usage", "--json"}));
    EXPECT_EQ(usage.exit_code, 0) << usage.err;
    const Json json = parse_json(usage.out);
    if (!has(json, "/total/days/0")) return 0;
    const JsonValue& today = at(json, "/total/days/0");
    return number_at(today, "/input_tokens") + number_at(today, "/output_tokens") +
           number_at(today, "/estimated_tokens");
  }
  bool counts_what_was_billed() const {
    return comes_true([this] { return counted() == simulator_.billed(); });
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  RedisServer redis_{dir_};
  Settings settings_;
  std::array<std::optional<Responder>, 3> responders_;
  std::optional<Nginx> nginx_;
};

TEST_F(RedisCaps, ThreeRespondersHoldACapTogether) {
  constexpr int64_t kCap = 3000;
  start({{"CAP_TOTAL_DAY_TOKENS", std::to_string(kCap)}});
  std::deque<Exchange> exchanges;
  for (int i = 0; i < 150; ++i) exchanges.push_back(send("[[sim events=60 interval=10]]"));
  int64_t open = 0;
  int refused = 0;
  for (auto& exchange : exchanges) {
    const Response response = exchange.read_all();
    if (response.status == 200) {
      ++open;
    } else {
      EXPECT_EQ(response.status, 429) << response.body;
      EXPECT_NE(response.body.find("budget_used_up"), std::string::npos) << response.body;
      ++refused;
    }
  }
  EXPECT_GT(open, 3);
  EXPECT_GT(refused, 0);
  EXPECT_LE(simulator_.billed(), kCap + open * kSlice);
  EXPECT_TRUE(counts_what_was_billed());

  // What is left is used too.
  while (true) {
    const Response response = send("[[sim events=1]]").read_all();
    if (response.status != 200) break;
    EXPECT_TRUE(counts_what_was_billed());
  }
  EXPECT_GE(simulator_.billed() + kSlice, kCap) << "nobody is refused while his question fits";
  EXPECT_TRUE(counts_what_was_billed());
}

TEST_F(RedisCaps, APauseAtOnceEndsTheOpenAnswersOfEveryHostWhoseUpstreamIsSilent) {
  start({{"CAP_DAY_TOKENS", "1000000"}});
  std::deque<Exchange> unasked;
  std::deque<Exchange> streams;
  for (size_t i = 0; i < responders_.size(); ++i) unasked.push_back(send("[[sim events=3 hold=0]]"));
  for (size_t i = 0; i < responders_.size(); ++i) {
    streams.push_back(send("[[sim events=3 hold=2]]"));
    read_text(streams.back());
  }
  ASSERT_TRUE(simulator_.reaches("requests", 6));
  EXPECT_EQ(run(responder_command(dir_, settings_, {"pause", "--now"})).exit_code, 0);
  for (auto& exchange : unasked) expect_error(exchange.read_all(), 503, "paused", "The chat is paused");
  for (auto& exchange : streams) expect_failed(read_stream(exchange), "paused");
  EXPECT_TRUE(simulator_.falls_to("open", 0));
  EXPECT_TRUE(counts_what_was_billed());
}

TEST_F(RedisCaps, WhileTheServerIsAwayNobodyIsAnsweredAndItRecovers) {
  start({{"CAP_DAY_TOKENS", "1000000"}});
  EXPECT_EQ(send("[[sim events=3]]").read_all().status, 200);
  ASSERT_TRUE(counts_what_was_billed());
  redis_.kill();
  EXPECT_TRUE(comes_true([&] { return browser().get(kReadyPath).status == 503; }));
  const Response response = send("[[sim events=3]]").read_all();
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(response.body.find("budget_unknown"), std::string::npos) << response.body;
  redis_.start();
  EXPECT_TRUE(comes_true([&] { return are_ready(); }));
  EXPECT_EQ(send("[[sim events=3]]").read_all().status, 200);
  EXPECT_TRUE(counts_what_was_billed()) << "the server has lost its data, and has got them back";
}

}  // namespace
}  // namespace bailian::e2e
