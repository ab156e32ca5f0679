// Several responders behind the include, with the upstream block that we ship.

#include <gtest/gtest.h>

#include <string>

#include "harness/answer.h"
#include "harness/existing_site.h"

namespace bailian::e2e {
namespace {

class NginxUpstream : public ExistingSite {
 protected:
  // The responder on the unix socket, or its replacement, and one on TCP.
  void start_nginx_with_both(const std::string& fail_timeout = "10s") {
    ExistingSite::start_nginx(
        {.edits = {{"fastcgi_pass unix:" + dir_.socket("fcgi"), "fastcgi_pass bailian_fcgi"}},
         .limits = {{{"limit_req zone", "#"},
                     {"fail_timeout=10s", "fail_timeout=" + fail_timeout},
                     {"#server 192.0.2.7:9000", "server 127.0.0.1:" + std::to_string(listener_.port)}}}});
  }

  Exchange ask() const {
    return browser().send({.method = "POST", .path = kChatPath, .body = chat_body("hello")});
  }

  LoopbackListener listener_ = listen_on_loopback();
  ScriptedFcgi on_tcp_{std::move(listener_.fd)};
};

TEST_F(NginxUpstream, ServesFromBothAndPrefersTheLessBusy) {
  const ScriptedFcgi on_unix(listen_on_unix(dir_.socket("fcgi")));
  start_nginx_with_both();
  auto first = ask();
  auto at_unix = on_unix.accept();
  auto second = ask();
  auto at_tcp = on_tcp_.accept();
  EXPECT_EQ(at_tcp.body(), chat_body("hello"));
  at_tcp.answer("TCP");
  EXPECT_EQ(second.read_all().body, "TCP");
  // With round robin it would go to the other one.
  auto third = ask();
  on_tcp_.accept().answer("TCP again");
  EXPECT_EQ(third.read_all().body, "TCP again");
  at_unix.answer("unix");
  EXPECT_EQ(first.read_all().body, "unix");
}

TEST_F(NginxUpstream, StreamsFromAnyOfThem) {
  start_responder({{"FCGI_LISTEN", dir_.socket("fcgi")}});
  start_nginx_with_both();
  auto exchange = stream("[[sim events=2 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 ");
}

TEST_F(NginxUpstream, OneThatIsDownIsNotNoticedByVisitors) {
  start_nginx_with_both("1h");
  for (int i = 0; i < 20; ++i) {
    auto exchange = ask();
    on_tcp_.accept().answer("TCP");
    EXPECT_EQ(exchange.read_all().body, "TCP");
  }
  EXPECT_TRUE(nginx_->process().err().await_line([](std::string_view line) {
    return line.find("upstream server temporarily disabled") != std::string_view::npos;
  }));
}

TEST_F(NginxUpstream, AChatThatWasSentIsNotSentAgain) {
  const ScriptedFcgi on_unix(listen_on_unix(dir_.socket("fcgi")));
  start_nginx_with_both();
  auto exchange = ask();
  on_unix.accept().close();
  expect_error(exchange.read_all(), 502, "upstream_error", "Connection failed");
  // nginx repeats a request that may be repeated, so the other responder was reachable.
  auto health = browser().send({.path = kHealthPath});
  on_tcp_.accept().close();
  on_unix.accept().answer("healthy");
  EXPECT_EQ(health.read_all().body, "healthy");
}

TEST_F(NginxUpstream, OneThatDoesNotAnswerTheCallIsGivenUp) {
  const auto deaf = listen_on_loopback(0);
  const auto waiting =
      connect_to({.unix_path = {}, .port = deaf.port});  // fills its backlog: further connections hang
  start_nginx({.edits = {{"fastcgi_pass unix:" + dir_.socket("fcgi"),
                          "fastcgi_pass 127.0.0.1:" + std::to_string(deaf.port)},
                         {"fastcgi_connect_timeout 5s", "fastcgi_connect_timeout 1s"}}});
  expect_error(ask().read_all(), 504, "upstream_timeout", "Connection timeout");
}

}  // namespace
}  // namespace bailian::e2e
