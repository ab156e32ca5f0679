// The include behind TLS, HTTP/2 and another proxy.

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "harness/answer.h"
#include "harness/authority.h"
#include "harness/existing_site.h"

namespace bailian::e2e {
namespace {

// The site behind TLS, and the curl command for a browser.
class NginxTls : public ExistingSite, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const auto certificate = authority_.issue("DNS:chat.example", 2);
    start_nginx({.listen = "    listen unix:" + dir_.socket("tls") + " ssl http2;\n    ssl_certificate " +
                           certificate + ";\n    ssl_certificate_key " + authority_.key() + ";\n"});
  }

  Command curl(const std::string& path, std::vector<std::string> more) const {
    Command command{
        .argv = {"curl", "--silent", "--show-error", "--no-buffer", GetParam(), "--cacert",
                 authority_.bundle(), "--unix-socket", dir_.socket("tls"), "https://chat.example" + path},
        .env = {},
        .directory = dir_.path(),
        .fds = {}};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    return command;
  }
  // The status, a space, the HTTP version and the body of the answer.
  std::string ask(const std::string& path, std::vector<std::string> more) const {
    more.insert(more.end(), {"--write-out", "\n%{http_code} HTTP/%{http_version}"});
    return run(curl(path, more)).out;
  }

  std::string version() const { return std::string_view(GetParam()) == "--http2" ? "HTTP/2" : "HTTP/1.1"; }

  Authority authority_{dir_};
};

INSTANTIATE_TEST_SUITE_P(Http, NginxTls, testing::Values("--http2", "--http1.1"),
                         [](const auto& version) { return version.index == 0 ? "2" : "1"; });

bool is_first_text(std::string_view line) { return line.find(R"("content":"tok1 ")") != line.npos; }
bool is_last(std::string_view line) { return line.find(R"("finished":true)") != line.npos; }

TEST_P(NginxTls, EachTextArrivesBeforeTheNextIsThere) {
  start_responder();
  Process browser(curl(kStreamPath, {"--data", chat_body("[[sim events=3 hold=1]]")}));
  EXPECT_TRUE(browser.out().await_line(is_first_text));
  EXPECT_TRUE(simulator_.reaches("held", 1));
  simulator_.release();
  EXPECT_TRUE(browser.out().await_line(is_last));
  EXPECT_EQ(browser.wait(), 0);
}

TEST_P(NginxTls, AVisitorWhoLeavesStopsTheModel) {
  start_responder();
  Process browser(curl(kStreamPath, {"--data", chat_body("[[sim events=3 hold=1]]")}));
  EXPECT_TRUE(browser.out().await_line(is_first_text));
  browser.signal(SIGTERM);
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

TEST_P(NginxTls, AnswersAreThoseOfTheChat) {
  start_responder();
  const auto chat = ask(kChatPath, {"--data", chat_body("[[sim events=2]]")});
  EXPECT_NE(chat.find(R"("result":"tok1 tok2 ")"), chat.npos) << chat;
  EXPECT_TRUE(chat.ends_with("\n200 " + version())) << chat;
  EXPECT_TRUE(ask("/?rest_route=/myapi/v1/chat-bot-config", {}).ends_with("\n200 " + version()));
}

TEST_P(NginxTls, PagesOfTheSiteMayChatOnAnyPort) {
  start_responder({{"ALLOWED_ORIGINS", "https://shop.example"}});
  auto ask_from = [this](const char* origin) {
    const auto answer = ask(kChatPath, {"--header", "Host: chat.example:8443", "--header",
                                        std::string("Origin: ") + origin, "--data", "{}"});
    return answer.substr(answer.rfind('\n') + 1, 3);
  };
  EXPECT_EQ(ask_from("https://chat.example:8443"), "400");
  EXPECT_EQ(ask_from("https://chat.example:8444"), "403");
  EXPECT_EQ(ask_from("https://chat.example"), "403");
}

TEST_P(NginxTls, NginxsOwnErrorsAreJsonForAllOrigins) {
  const auto down = ask(kStreamPath, {"--include", "--data", chat_body("hello")});
  EXPECT_NE(down.find(R"("code":"upstream_error")"), down.npos) << down;
  EXPECT_TRUE(down.ends_with("\n502 " + version())) << down;
  const auto large =
      ask(kChatPath, {"--include", "--data-binary", "@" + dir_.write("large", std::string(1'100'000, ' '))});
  EXPECT_NE(large.find(R"("code":"too_large")"), large.npos) << large;
  EXPECT_TRUE(large.ends_with("\n413 " + version())) << large;
  for (auto answer : {down, large}) {
    for (auto& c : answer) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto at = answer.find("access-control-allow-origin: *\r\n");
    EXPECT_NE(at, answer.npos) << answer;
    EXPECT_EQ(answer.find("access-control-allow-origin", at + 1), answer.npos) << answer;
  }
}

// Another nginx in front of ours, with nothing set but proxy_pass.
class NginxBehindAProxy : public ExistingSite {
 protected:
  void SetUp() override {
    start_responder();
    start_nginx();
  }

  Browser outer_browser() const { return Browser({.unix_path = dir_.socket("outer")}); }
  Exchange outer_stream(std::string_view prompt) const {
    return outer_browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
  }

  Nginx outer_{dir_, "outer",
               "  server {\n    listen unix:" + dir_.socket("outer") +
                   ";\n    location / { proxy_pass http://unix:" + dir_.socket("web") + ":; }\n  }\n"};
};

TEST_F(NginxBehindAProxy, EachTextArrivesBeforeTheNextIsThere) {
  auto exchange = outer_stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
}

TEST_F(NginxBehindAProxy, AVisitorWhoLeavesStopsTheModel) {
  auto exchange = outer_stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  exchange.close();
  EXPECT_TRUE(simulator_.reaches("cut", 1));
}

TEST_F(NginxBehindAProxy, ErrorsComeThroughAsTheyAre) {
  expect_error(outer_browser().post(kChatPath, "{}"), 400, "invalid_request", "No data provided");
  expect_error(outer_browser().get("/?rest_route=/myapi/v1/nothing"), 404, "not_found", "Endpoint not found");
}

}  // namespace
}  // namespace bailian::e2e
