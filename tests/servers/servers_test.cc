// The recipes of deploy/other-servers.md with their web servers.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/responder.h"
#include "harness/simulator.h"
#include "harness/site.h"
#include "web_server.h"

namespace bailian::e2e {
namespace {

const WebServerKind kApache{.name = "Apache",
                            .program = "apache2",
                            .configuration = R"(ServerRoot /usr/lib/apache2
ServerName localhost
PidFile @DIR@/apache.pid
DefaultRuntimeDir @DIR@
ErrorLog @DIR@/apache.log
DocumentRoot /srv
Listen 127.0.0.1:@PORT@
User nobody
Group nogroup
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule deflate_module modules/mod_deflate.so
LoadModule filter_module modules/mod_filter.so
LoadModule proxy_module modules/mod_proxy.so
LoadModule proxy_fcgi_module modules/mod_proxy_fcgi.so
# Debian's own lines.
AddOutputFilterByType DEFLATE text/html text/plain text/xml text/css application/javascript application/json
@RECIPE@
)",
                            .arguments = {"-DFOREGROUND", "-f", "@CONFIG@"}};
const WebServerKind kLighttpd{.name = "lighttpd",
                              .program = "lighttpd",
                              .configuration = R"(server.bind = "127.0.0.1"
server.port = @PORT@
server.document-root = "/srv"
server.errorlog = "@DIR@/lighttpd.log"
@RECIPE@
)",
                              .arguments = {"-D", "-f", "@CONFIG@"}};
const WebServerKind kCaddy{.name = "Caddy",
                           .program = "caddy",
                           .configuration = R"({
    admin off
    auto_https off
    grace_period 1s
}
http://chat.example:@PORT@ {
    encode gzip
    root * /srv
    file_server
@RECIPE@
}
)",
                           .arguments = {"run", "--adapter", "caddyfile", "--config", "@CONFIG@"}};
const WebServerKind kHaproxy{.name = "HAProxy",
                             .program = "haproxy",
                             .configuration = R"(global
    hard-stop-after 1s
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
backend site
    http-request return status 404
@RECIPE@
)",
                             .arguments = {"-db", "-f", "@CONFIG@"}};

class Servers : public testing::TestWithParam<WebServerKind> {
 protected:
  void SetUp() override {
    if (!is_installed(GetParam().program)) GTEST_SKIP() << GetParam().program << " is not installed";
    // Apache's workers run as another user when root starts it.
    ASSERT_EQ(chmod(dir_.socket("").c_str(), 0755), 0);
  }
  void TearDown() override {
    if (HasFailure() && server_) std::cerr << server_->log() << responder_->log();
  }
  void start(Settings settings = {}, const std::vector<Replacement>& more = {}) {
    settings.merge(Settings{{"FCGI_SOCKET_MODE", "0666"}});
    settings.merge(site_settings(dir_, simulator_));
    responder_.emplace(responder_command(dir_, settings));
    server_.emplace(dir_, GetParam(), more);
  }

  Browser browser() const { return Browser(server_->address()); }
  Exchange stream(std::string_view prompt) const {
    return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  std::optional<Responder> responder_;
  std::optional<WebServer> server_;
};

INSTANTIATE_TEST_SUITE_P(All, Servers, testing::Values(kApache, kLighttpd, kCaddy, kHaproxy),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(Servers, EachTextArrivesBeforeTheNextIsThere) {
  start();
  for (const char* path : {kStreamPath, "/wp-json/myapi/v1/chat-bot/stream"}) {
    auto exchange = browser().send({.method = "POST",
                                    .path = path,
                                    .headers = {{"Accept-Encoding", "gzip"}},
                                    .body = chat_body("[[sim events=3 hold=1]]")});
    EXPECT_EQ(read_text(exchange), "tok1 ");
    simulator_.release();
    EXPECT_EQ(read_stream(exchange, Chunks::kMayCutEvents).text, "tok2 tok3 ");
    simulator_.reset();
  }
}

TEST_P(Servers, WholeAnswersProfileAndHealthComeThrough) {
  start();
  const auto answer = browser().post(kChatPath, chat_body("[[sim events=2]]"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(text_at(answer.json(), "/result"), tokens(2));
  for (const char* path : {kHealthPath, kConfigPath, "/wp-json/myapi/v1/chat-bot-config"}) {
    EXPECT_EQ(browser().get(path).status, 200) << path;
    EXPECT_EQ(browser().fetch({.method = "HEAD", .path = path}).status, 200) << path;
  }
  const auto profile = browser().get(kConfigPath);
  EXPECT_EQ(browser()
                .fetch({.path = kConfigPath, .headers = {{"If-None-Match", profile.headers.get("ETag")}}})
                .status,
            304);
}

TEST_P(Servers, PreflightsAndErrorsAreTheRespondersOwn) {
  start({{"UPSTREAM_RETRIES", "0"}});
  const auto preflight = browser().fetch({.method = "OPTIONS",
                                          .path = kStreamPath,
                                          .headers = {{"Origin", "https://shop.example"},
                                                      {"Access-Control-Request-Method", "POST"},
                                                      {"Access-Control-Request-Headers", "content-type"}}});
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(preflight.headers.get("Access-Control-Max-Age"), "86400");
  const Headers origin = {{"Origin", "https://shop.example"}};
  auto expect_ours = [](const Response& answer, int status, const char* code, const char* message) {
    expect_error(answer, status, code, message);
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  };
  expect_ours(browser().post(kChatPath, "{}", origin), 400, "invalid_request", "No data provided");
  expect_ours(browser().post("/myapi/v1/nothing", "{}", origin), 404, "not_found", "Endpoint not found");
  expect_ours(browser().fetch({.path = kChatPath, .headers = origin}), 405, "method_not_allowed",
              "Method not");
  expect_ours(browser().post(kChatPath, chat_body(std::string(40'000, 'x')), origin), 413, "too_large",
              "Request too large");
  expect_ours(
      browser().post(kChatPath, chat_body("[[sim status=401 code=InvalidApiKey framing=json]]"), origin), 502,
      "upstream_auth", "Authentication failed");
}

TEST_P(Servers, TheOperatorsPagesAreNotThere) {
  start();
  for (const char* path : {"/status", "/metrics", "/ready", "/ping", "/wp-json/metrics", "/myapi/../metrics",
                           "/myapi/%2e%2e/metrics", "/healthy", "/x/myapi/v1/chat-bot"}) {
    const auto answer = browser().get(path);
    EXPECT_TRUE(answer.status == 404 || answer.status == 400) << path << " " << answer.status;
    EXPECT_EQ(answer.body.find("bailian_"), answer.body.npos) << path;
  }
}

TEST_P(Servers, AVisitorWhoLeavesWhileTextFlowsStopsTheModel) {
  start();
  auto exchange = stream("[[sim events=10000 interval=20]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

TEST_P(Servers, AVisitorWhoLeavesBeforeTheFirstTextStopsTheModelAtAKeepAlive) {
  start({{"HEARTBEAT", "0.2"}});
  auto exchange = stream("[[sim hold=0]]");
  EXPECT_TRUE(simulator_.reaches("held", 1));
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

// As browsers send a body of unknown length.
TEST_P(Servers, ABodyInChunksIsTaken) {
  start();
  const auto body = chat_body("[[sim events=2]]");
  char size[20];
  snprintf(size, sizeof size, "%zx", body.size());
  const auto answer = browser().fetch({.method = "POST",
                                       .path = kChatPath,
                                       .headers = {{"Transfer-Encoding", "chunked"}},
                                       .body = size + ("\r\n" + body) + "\r\n0\r\n\r\n"});
  EXPECT_EQ(answer.status, 200) << answer.body;
}

class ServersHaproxy : public Servers {};
INSTANTIATE_TEST_SUITE_P(One, ServersHaproxy, testing::Values(kHaproxy),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(ServersHaproxy, LimitsEachVisitor) {
  start();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(browser().post(kChatPath, "{}").status, 400) << i;
  for (const char* path : {kChatPath, kStreamPath, "/myapi/v1/nothing"}) {
    const auto answer = browser().post(path, "{}");
    EXPECT_EQ(answer.status, 429) << path;
    EXPECT_EQ(text_at(answer.json(), "/code"), "rate_limited");
    EXPECT_EQ(answer.headers.get("Access-Control-Allow-Origin"), "*");
  }
  EXPECT_EQ(browser().get(kHealthPath).status, 200);
  EXPECT_EQ(browser().fetch({.method = "OPTIONS", .path = kChatPath}).status, 204);
  const Browser another({.unix_path = {}, .port = server_->address().port, .source = 2});
  EXPECT_EQ(another.post(kChatPath, "{}").status, 400);
}

// An option of HAProxy: it first asks how many connections it may open.
TEST_P(ServersHaproxy, MayAskForValues) {
  start({}, {{"docroot /\n", "docroot /\n    option get-values\n"}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(browser().get(kHealthPath).status, 200);
  auto exchange = stream("[[sim events=3]]");
  EXPECT_EQ(read_stream(exchange, Chunks::kMayCutEvents).text, tokens(3));
}

}  // namespace
}  // namespace bailian::e2e
