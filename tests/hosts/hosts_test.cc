// Three hosts behind one nginx, with the upstream block that we ship.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/existing_site.h"
#include "network.h"

namespace bailian::e2e {
namespace {

constexpr size_t kHosts = 3;
constexpr const char* kPort = ":9000";

std::string address(size_t number) { return Network::address_of(number) + kPort; }

class Hosts : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_make_namespaces()) GTEST_SKIP() << "network namespaces need root";
    network_.emplace(kHosts);
    for (size_t i = 0; i < kHosts; ++i) {
      simulators_[i].emplace(dir_, std::vector<std::string>{}, network_->host(i).prefix());
      start_responder(i);
    }
    start_nginx();
  }

  void TearDown() override {
    if (!nginx_) return;
    nginx_->stop();
    if (HasFailure()) dir_.keep();
  }

  void start_responder(size_t number) {
    auto settings = site_settings(dir_, *simulators_[number]);
    settings["FCGI_LISTEN"] = address(number);
    auto command = responder_command(dir_, settings);
    const auto prefix = network_->host(number).prefix();
    command.argv.insert(command.argv.begin(), prefix.begin(), prefix.end());
    responders_[number].emplace(command);
  }

  // As shipped, except that a host is tried again sooner and answers name their host.
  void start_nginx(std::vector<Edit> more = {}) {
    more.push_back({"fastcgi_pass unix:" + dir_.socket("fcgi"), "fastcgi_pass bailian_fcgi"});
    more.push_back({R"(add_header Access-Control-Allow-Origin "";)", "add_header X-Host $upstream_addr;"});
    std::string others;
    for (size_t i = 1; i < kHosts; ++i) others += "server " + address(i) + " max_fails=3 fail_timeout=2s;\n";
    nginx_.emplace(
        dir_, "nginx",
        existing_site(dir_, {.edits = std::move(more),
                             .limits = {{{"limit_req zone", "#"},
                                         {"limit_conn bailian", "#"},
                                         {"server unix:" + dir_.socket("fcgi"), "server " + address(0)},
                                         {"fail_timeout=10s", "fail_timeout=2s"},
                                         {"#server 192.0.2.7:9000", others + "#"}}}}),
        network_->front().prefix());
  }

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange send(const char* path, std::string_view prompt) const {
    return browser().send({.method = "POST", .path = path, .body = chat_body(prompt)});
  }
  // About 6 s long.
  Exchange stream() const { return send(kStreamPath, "[[sim events=60 interval=100]]"); }

  // One stream through each host, in order.
  std::vector<Exchange> one_stream_each() {
    std::vector<Exchange> streams;
    for (size_t i = 0; i < kHosts; ++i) {
      streams.push_back(stream());
      EXPECT_EQ(read_text(streams.back()), "tok1 ");
    }
    std::sort(streams.begin(), streams.end(),
              [](Exchange& a, Exchange& b) { return host_of(a) < host_of(b); });
    for (size_t i = 0; i < kHosts; ++i) EXPECT_EQ(host_of(streams[i]), address(i));
    return streams;
  }
  // The host that answered, after those that did not.
  static std::string host_of(Exchange& exchange) {
    const auto hosts = exchange.headers().get("X-Host");
    return hosts.substr(hosts.rfind(' ') + 1);
  }

  void expect_whole(Exchange& exchange) {
    EXPECT_EQ(read_stream(exchange, Chunks::kMayCutEvents).text, tokens(60).substr(tokens(1).size()));
  }
  static std::string fault_of(Exchange& exchange) {
    try {
      read_stream(exchange, Chunks::kMayCutEvents);
    } catch (const std::exception& fault) {
      return fault.what();
    }
    return "none";
  }
  // All at once.
  void expect_no_error(int count) {
    std::vector<Exchange> exchanges;
    exchanges.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i)
      exchanges.push_back(send(i % 2 == 0 ? kChatPath : kStreamPath, "[[sim events=2]]"));
    for (auto& exchange : exchanges) {
      EXPECT_EQ(exchange.status(), 200) << exchange.read_all().body;
      EXPECT_NE(exchange.read_all().body.find("\"usage\""), std::string::npos);
    }
  }
  testing::AssertionResult takes_traffic_again(size_t number) {
    const Deadline deadline;
    int asked = 0;
    while (deadline.left_ms() > 0) {
      auto exchange = send(kChatPath, "[[sim events=1]]");
      ++asked;
      if (exchange.status() != 200) return testing::AssertionFailure() << exchange.read_all().body;
      if (host_of(exchange) == address(number)) return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "not in " << asked << " requests";
  }

  WorkDir dir_;
  std::optional<Network> network_;
  std::array<std::optional<Simulator>, kHosts> simulators_;
  std::array<std::optional<Responder>, kHosts> responders_;
  std::optional<Nginx> nginx_;
};

TEST_F(Hosts, ShareTheStreamsEvenly) {
  std::vector<Exchange> streams;
  std::multiset<std::string> used;
  for (size_t i = 0; i < 4 * kHosts; ++i) {
    streams.push_back(stream());
    EXPECT_EQ(read_text(streams.back()), "tok1 ");
    used.insert(host_of(streams.back()));
  }
  for (size_t i = 0; i < kHosts; ++i) EXPECT_EQ(used.count(address(i)), 4U) << address(i);
  for (auto& exchange : streams) expect_whole(exchange);
}

TEST_F(Hosts, OneThatIsKilledIsNoticedByItsOwnStreamsOnly) {
  auto streams = one_stream_each();
  responders_[1]->process().signal(SIGKILL);
  EXPECT_EQ(responders_[1]->process().wait(), 128 + SIGKILL);
  expect_no_error(20);
  // nginx treats the end of the connection as the end of the answer: only the last event is missing.
  EXPECT_EQ(fault_of(streams[1]), "the stream ends without a terminal event");
  expect_whole(streams[0]);
  expect_whole(streams[2]);
  start_responder(1);
  EXPECT_TRUE(takes_traffic_again(1));
}

TEST_F(Hosts, OneThatIsCutOffIsNoticedByItsOwnStreamsOnly) {
  auto streams = one_stream_each();
  network_->cut(2);
  expect_no_error(20);
  expect_whole(streams[0]);
  expect_whole(streams[1]);
  // No connection was closed: its streams continue when it is back.
  network_->mend(2);
  expect_whole(streams[2]);
  EXPECT_TRUE(takes_traffic_again(2));
}

TEST_F(Hosts, AStreamOfOneThatStaysCutOffEndsByTheReadTimeout) {
  nginx_->stop();
  start_nginx({{"fastcgi_read_timeout 310s", "fastcgi_read_timeout 2s"}});
  auto streams = one_stream_each();
  network_->cut(0);
  EXPECT_TRUE(fault_of(streams[0]).starts_with("the answer is cut short")) << fault_of(streams[0]);
  EXPECT_TRUE(nginx_->process().err().await_line(
      [](auto line) { return line.find("upstream timed out") != line.npos; }));
  expect_whole(streams[1]);
  expect_whole(streams[2]);
}

}  // namespace
}  // namespace bailian::e2e
