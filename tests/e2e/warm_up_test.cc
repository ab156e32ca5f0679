// A page that loads the profile has a connection to DashScope opened, so that its visitor's question need not
// wait.

#include <gtest/gtest.h>

#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "harness/answer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

class WarmUp : public testing::Test {
 protected:
  void open_site(Settings settings = {}) {
    settings.insert({"WARM_UP", "on"});
    site_.emplace(SiteOptions{.settings = std::move(settings)});
  }
  Simulator& simulator() { return site_->simulator(); }
  void expect_answer() { EXPECT_EQ(read_stream(site_->stream("[[sim events=3]]")).text, tokens(3)); }
  // A question that has been asked, and a page that was loaded before it, have opened what they open.
  void expect_no_warm_up() {
    expect_answer();
    EXPECT_EQ(simulator().count("warm_ups"), 0);
    EXPECT_EQ(simulator().count("connections"), 1);
    EXPECT_TRUE(counts(R"(bailian_warm_ups_total{result="opened"} 0)"));
  }
  bool counts(const std::string& line) {
    for (const Deadline deadline; deadline.left_ms() > 0;) {
      if (site_->get("/metrics").body.find("\n" + line + "\n") != std::string::npos) return true;
    }
    return false;
  }
  Response preflight(const std::string& path, const std::string& origin) {
    return site_->browser().fetch({.method = "OPTIONS",
                                   .path = path,
                                   .headers = {{"Origin", origin}, {"Access-Control-Request-Method", "POST"}},
                                   .body = {}});
  }

  std::optional<Site> site_;
};

TEST_F(WarmUp, TheQuestionUsesTheConnectionThatThePageOpened) {
  open_site();
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  ASSERT_TRUE(counts(R"(bailian_warm_ups_total{result="opened"} 1)"));
  expect_answer();
  EXPECT_EQ(simulator().count("connections"), 1);
  EXPECT_EQ(simulator().count("warm_ups"), 1);
  EXPECT_EQ(simulator().count("requests"), 1);
  EXPECT_TRUE(counts(R"(bailian_upstream_requests_total{bot="default",target="1"} 1)"))
      << "that one may be billed";
}

TEST_F(WarmUp, APageWhoseProfileIsCachedOpensOneToo) {
  open_site();
  const auto etag = site_->get("/myapi/v1/chat-bot-config").headers.get("ETag");
  site_.reset();
  open_site();
  const auto answer = site_->browser().fetch(
      {.method = "GET", .path = kConfigPath, .headers = {{"If-None-Match", std::string(etag)}}, .body = {}});
  EXPECT_EQ(answer.status, 304);
  EXPECT_TRUE(simulator().reaches("warm_ups", 1));
}

TEST_F(WarmUp, APreflightOfAChatOpensOne) {
  open_site({{"ALLOWED_ORIGINS", "https://shop.example"}});
  EXPECT_EQ(preflight(kConfigPath, "https://shop.example").status, 204);
  EXPECT_EQ(preflight(kStreamPath, "https://elsewhere.example").status, 204);
  expect_no_warm_up();
  site_.reset();
  open_site({{"ALLOWED_ORIGINS", "https://shop.example"}});
  EXPECT_EQ(preflight(kStreamPath, "https://shop.example").status, 204);
  EXPECT_TRUE(simulator().reaches("warm_ups", 1));
}

TEST_F(WarmUp, OffOpensNone) {
  open_site({{"WARM_UP", "off"}});
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  expect_no_warm_up();
}

TEST_F(WarmUp, WithoutAKeyOpensNone) {
  open_site({{"DASHSCOPE_API_KEY", ""}});
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  expect_error(site_->ask("hello"), 500, "not_configured", "API Key is not configured");
  EXPECT_EQ(simulator().count("connections"), 0);
}

TEST_F(WarmUp, AnUpstreamThatIsNotThereDisturbsNobody) {
  open_site({{"DASHSCOPE_BASE_URL", "http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1"}});
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  EXPECT_TRUE(counts(R"(bailian_warm_ups_total{result="failed"} 1)"));
  EXPECT_TRUE(counts(R"(bailian_upstream_requests_total{bot="default",target="1"} 0)"));
}

TEST_F(WarmUp, EndsWhenTheProcessDrains) {
  ScriptedUpstream upstream;
  open_site({{"DASHSCOPE_BASE_URL", upstream.base_url()}});
  auto exchange = site_->stream("hello");
  const UpstreamCall call = upstream.accept();
  call.send_stream_head();
  call.send_text("live");
  EXPECT_EQ(read_text(exchange), "live");
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  const UpstreamCall warm_up = upstream.accept();
  site_->responder().process().signal(SIGTERM);
  EXPECT_TRUE(warm_up.is_dropped());
  call.finish();
  EXPECT_EQ(read_stream(exchange).text, "");
}

// The upstream accepts the connection and says nothing. The end of the site asserts exit code 0.
TEST_F(WarmUp, AnUpstreamThatSaysNothingKeepsNoProcessAlive) {
  ScriptedUpstream upstream;
  open_site({{"DASHSCOPE_BASE_URL", upstream.base_url()}, {"DRAIN_TIMEOUT", "3600"}});
  EXPECT_EQ(site_->get(kConfigPath).status, 200);
  const UpstreamCall call = upstream.accept();
  EXPECT_TRUE(call.head().starts_with("HEAD /api/v1 HTTP/1.1\r\n")) << call.head();
  site_.reset();
  EXPECT_TRUE(call.is_dropped());
}

}  // namespace
}  // namespace bailian::e2e
