// Several bots in one responder: found by path and by host, through the nginx include that we ship.

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

std::string profile(std::string_view greeting) {
  return R"({"botStatus":1,"StartUpMessage":)" + json_string(greeting) +
         R"(,"fontSize":"16","userAvatarURL":"u","botImageURL":"b","commonButtons":[]})";
}

// Two sites and a third host, as deploy/README.md describes them, before one responder with the bots `shop`
// and `help`.
class Bots : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_.file("bots.d"));
    dir_.write("shop.json", profile("the shop"));
    dir_.write("help.json", profile("help"));
    write_bot("shop",
              "APP_ID=app-shop\nBOT_CONFIG_FILE=shop.json\nSYSTEM_PROMPT=You sell.\nMAX_PROMPT_BYTES=60\n"
              "ALLOWED_ORIGINS=https://www.shop.example\n");
    write_bot("help", "APP_ID=app-help\nBOT_CONFIG_FILE=help.json\nMAX_STREAMS=1\n");
    write_env();
    auto settings = site_settings(dir_, simulator_);
    settings.erase("DASHSCOPE_API_KEY");
    settings.erase("APP_ID");
    responder_.emplace(responder_command(dir_, settings));
    start_nginx();
  }
  void TearDown() override {
    if (nginx_) nginx_->stop();
    simulator_.release();
    if (!responder_) return;
    responder_->process().signal(SIGTERM);
    EXPECT_EQ(responder_->process().wait(), 0);
    check_log(responder_->log());
  }

  void write_bot(const std::string& name, const std::string& text) const {
    dir_.write("bots.d/" + name + ".env", text);
  }
  void write_env(const std::string& more = "") const {
    dir_.write(".env", "DASHSCOPE_API_KEY=" + std::string(kApiKey) +
                           "\nAPP_ID=app-main\nBOTS_DIR=bots.d\nSYSTEM_PROMPT=\"Of all.\"\n"
                           "BOT_HOSTS=www.shop.example=shop, help.example=help\n" +
                           more);
  }

  // Sends SIGHUP and returns the event that reports the result.
  std::string reload() {
    ++reloads_;
    responder_->process().signal(SIGHUP);
    int seen = 0;
    const auto line = responder_->process().err().await_line(
        [&](std::string_view text) { return contains(text, R"("event":"reload)") && ++seen == reloads_; });
    if (!line) throw std::runtime_error("no reload event in:\n" + responder_->log());
    return text_at(parse_json(*line), "/event");
  }

  Exchange send(const std::string& method, const std::string& host, const std::string& path,
                const std::string& body = "", const std::string& origin = "") const {
    Headers headers = {{"Host", host}};
    if (!origin.empty()) headers.add("Origin", origin);
    return Browser({.unix_path = dir_.socket("web")}).send({method, path, headers, body});
  }
  Response ask(const std::string& host, const std::string& path,
               const std::string& prompt = "[[sim events=1]]", const std::string& origin = "") const {
    return send("POST", host, path, chat_body(prompt), origin).read_all();
  }
  std::string greeting(const std::string& host, const std::string& path = kConfigPath) const {
    const auto answer = send("GET", host, path).read_all();
    return answer.status == 200 ? text_at(answer.json(), "/StartUpMessage") : std::to_string(answer.status);
  }
  // The application that the newest question went to, and its system prompt.
  std::string asked() const {
    const auto request = simulator_.last_request();
    return text_at(request, "/path") + " " + text_at(request, "/body/input/messages/0/content");
  }
  Json line_of(const Response& answer) const {
    return responder_->request_line(answer.headers.get("X-Request-Id"));
  }

  WorkDir dir_;
  Simulator simulator_{dir_, {"--app-id="}};
  std::optional<Responder> responder_;

 private:
  void start_nginx() {
    auto include = read_file("nginx/bailian-fcgi.conf");
    const std::string shipped = "/run/bailian-fcgi/bailian-fcgi.sock";
    include.replace(include.find(shipped), shipped.size(), dir_.socket("fcgi"));
    dir_.write("bailian-fcgi.conf", include);
    dir_.write("fastcgi_params", read_file("/etc/nginx/fastcgi_params"));
    const auto server = [this](const std::string& name) {
      return "server { listen unix:" + dir_.socket("web") + "; server_name " + name +
             "; include bailian-fcgi.conf; root " + dir_.path() + "; }\n";
    };
    nginx_.emplace(dir_, "nginx",
                   server("www.shop.example") + server("help.example") + server("main.example"));
  }

  std::optional<Nginx> nginx_;
  int reloads_ = 0;
};

TEST_F(Bots, OfTwoSitesAreFoundByTheHost) {
  EXPECT_EQ(greeting("www.shop.example"), "the shop");
  EXPECT_EQ(greeting("help.example"), "help");
  EXPECT_EQ(greeting("HELP.Example:8443"), "help");
  EXPECT_NE(greeting("main.example"), "help");

  const auto shop = ask("www.shop.example", kChatPath);
  EXPECT_EQ(text_at(shop.json(), "/result"), tokens(1));
  EXPECT_EQ(asked(), "/api/v1/apps/app-shop/completion You sell.");
  auto stream = send("POST", "help.example", kStreamPath, chat_body("[[sim events=2]]"));
  EXPECT_EQ(read_stream(stream).text, tokens(2));
  EXPECT_EQ(asked(), "/api/v1/apps/app-help/completion Of all.");
  const auto other = ask("main.example", kChatPath);
  EXPECT_EQ(asked(), "/api/v1/apps/app-main/completion Of all.");

  EXPECT_EQ(text_at(line_of(shop), "/bot"), "shop");
  EXPECT_EQ(text_at(responder_->request_line(stream.headers().get("X-Request-Id")), "/bot"), "help");
  EXPECT_EQ(text_at(line_of(other), "/bot"), "default");
}

TEST_F(Bots, OfOneSiteAreFoundByThePathWhateverTheHost) {
  for (const char* host : {"main.example", "help.example"}) {
    for (const char* before :
         {"/myapi/bots/shop", "/wp-json/myapi/bots/shop", "/index.php/wp-json/myapi/bots/shop"}) {
      SCOPED_TRACE(before);
      EXPECT_EQ(greeting(host, std::string(before) + "/v1/chat-bot-config"), "the shop");
      EXPECT_EQ(ask(host, std::string(before) + "/v1/chat-bot/").status, 200);
      EXPECT_EQ(asked(), "/api/v1/apps/app-shop/completion You sell.");
    }
    EXPECT_EQ(
        read_stream(send("POST", host, "/myapi/bots/shop/v1/chat-bot/stream", chat_body("[[sim events=3]]")))
            .text,
        tokens(3));
  }
  EXPECT_NE(greeting("help.example", "/myapi/bots/default/v1/chat-bot-config"), "help");
  EXPECT_EQ(send("GET", "main.example", "/myapi/bots/shop/v1/chat-bot-config")
                .read_all()
                .headers.get("Cache-Control")
                .find("max-age=60"),
            0U);
}

TEST_F(Bots, AreLabelsInMetricsAndColumnsInTheStatus) {
  ask("www.shop.example", kChatPath);
  ask("www.shop.example", kChatPath, "[[sim status=401 code=InvalidApiKey framing=json]]");
  greeting("help.example");
  auto held = send("POST", "help.example", kStreamPath, chat_body("[[sim events=2 hold=1]]"));
  EXPECT_EQ(read_text(held), "tok1 ");

  const auto operator_page = [this](const std::string& path) {
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::request("GET", path));
    return peer.read_reply().response.body;
  };
  const std::string metrics = operator_page("/metrics");
  for (const char* line : {
           R"(bailian_requests_total{bot="shop",endpoint="chat",outcome="done",status="2xx"} 1)",
           R"(bailian_requests_total{bot="help",endpoint="config",outcome="done",status="2xx"} 1)",
           R"(bailian_requests_total{bot="help",endpoint="stream",outcome="done",status="2xx"} 0)",
           R"(bailian_requests_total{bot="default",endpoint="chat",outcome="done",status="2xx"} 0)",
           R"(bailian_chat_duration_seconds_count{bot="shop",mode="json",outcome="done"} 1)",
           R"(bailian_time_to_first_token_seconds_count{bot="shop",mode="json"} 1)",
           R"(bailian_upstream_errors_total{bot="shop",code="InvalidApiKey",fault="auth",target="1"} 1)",
           R"(bailian_upstream_requests_total{bot="shop",target="1"} 2)",
           R"(bailian_upstream_requests_total{bot="help",target="1"} 1)",
           R"(bailian_upstream_requests_total{bot="default",target="1"} 0)",
           R"(bailian_upstream_retries_total{bot="shop",target="1"} 0)",
       })
    EXPECT_TRUE(contains(metrics, "\n" + std::string(line) + "\n")) << line;
  EXPECT_TRUE(contains(metrics, R"(bailian_tokens_total{bot="shop",model="qwen-plus",type="output"} )"));

  const Json status = parse_json(operator_page("/status?full&json"));
  EXPECT_EQ(text_at(status, "/streams/0/bot"), "help");
  EXPECT_TRUE(is_json(at(status, "/bots"),
                      R"([{"name":"default","application":"app-main","active_streams":0,"max_streams":0},)"
                      R"({"name":"help","application":"app-help","active_streams":1,"max_streams":1},)"
                      R"({"name":"shop","application":"app-shop","active_streams":0,"max_streams":0}])"));
  EXPECT_TRUE(
      contains(operator_page("/status"), "\nhelp                                   1       1 app-help\n"));
}

TEST_F(Bots, OfAnUnknownNameAreNotFoundAndNobodyIsAsked) {
  for (const char* name : {"sale", "Shop", "shop%20", "shop..", "default."}) {
    const auto answer = ask("www.shop.example", std::string("/myapi/bots/") + name + "/v1/chat-bot");
    expect_error(answer, 404, "not_found", "Endpoint not found");
    EXPECT_FALSE(has(line_of(answer), "/bot")) << name;
  }
  expect_error(ask("www.shop.example", "/myapi/bots/sale/v1/chat-bot/stream", std::string(900'000, 'x')), 404,
               "not_found", "Endpoint not found");
  EXPECT_EQ(send("OPTIONS", "www.shop.example", "/myapi/bots/sale/v1/chat-bot").read_all().status, 204);
  EXPECT_EQ(simulator_.count("requests"), 0);
}

TEST_F(Bots, HaveTheirOwnOriginsAndLimits) {
  const std::string elsewhere = "https://elsewhere.example";
  expect_error(ask("www.shop.example", kChatPath, "q", elsewhere), 403, "origin_not_allowed",
               "Origin not allowed");
  EXPECT_EQ(ask("help.example", kChatPath, "[[sim events=1]]", elsewhere).status, 200);
  const auto preflight = send("OPTIONS", "www.shop.example", kChatPath, "", elsewhere).read_all();
  EXPECT_EQ(preflight.headers.get("Access-Control-Allow-Origin"), "");
  const std::string long_prompt(61, 'x');
  EXPECT_EQ(ask("www.shop.example", kChatPath, long_prompt).status, 413);
  EXPECT_EQ(ask("help.example", kChatPath, long_prompt).status, 200);
}

TEST_F(Bots, OverTheirShareOfStreamsLeaveTheOthersAlone) {
  auto held = send("POST", "help.example", kStreamPath, chat_body("[[sim events=2 hold=1]]"));
  EXPECT_EQ(read_text(held), "tok1 ");
  const auto refused = ask("help.example", kChatPath);
  expect_error(refused, 503, "overloaded", "Server busy");
  EXPECT_EQ(text_at(line_of(refused), "/bot"), "help");
  EXPECT_EQ(ask("www.shop.example", kChatPath).status, 200);
  write_bot("help", "APP_ID=app-help\nMAX_STREAMS=2\n");
  EXPECT_EQ(reload(), "reloaded");
  EXPECT_EQ(ask("help.example", kChatPath).status, 200);
  simulator_.release();
  EXPECT_EQ(read_stream(held).text, "tok2 ");
  EXPECT_EQ(ask("help.example", kChatPath).status, 200);
}

TEST_F(Bots, AskAgainForAFailedStreamOfAnotherBot) {
  const std::string failing = "[[sim error=InvalidParameter]]";
  EXPECT_GE(send("POST", "help.example", kStreamPath, chat_body(failing)).read_all().status, 400);
  EXPECT_GE(ask("www.shop.example", kChatPath, failing).status, 400);
  EXPECT_EQ(simulator_.count("requests"), 2);
  EXPECT_GE(ask("help.example", kChatPath, failing).status, 400);
  EXPECT_EQ(simulator_.count("requests"), 2);
}

TEST_F(Bots, ComeAndGoByAReloadWhileTheirChatsGoOn) {
  auto held = send("POST", "www.shop.example", kStreamPath, chat_body("[[sim events=2 hold=1]]"));
  EXPECT_EQ(read_text(held), "tok1 ");
  std::filesystem::remove(dir_.file("bots.d/shop.env"));
  write_bot("sale", "APP_ID=app-sale\n");
  EXPECT_EQ(reload(), "reload_failed");  // BOT_HOSTS has the bot still
  EXPECT_TRUE(responder_->logs(
      ".env:5: BOT_HOSTS: www.shop.example has the bot shop, but there is no file shop.env in bots.d"));
  EXPECT_EQ(greeting("www.shop.example"), "the shop");

  write_env("BOT_HOSTS=www.shop.example=sale\n");
  EXPECT_EQ(reload(), "reloaded");
  EXPECT_EQ(greeting("main.example", "/myapi/bots/shop/v1/chat-bot-config"), "404");
  EXPECT_EQ(ask("www.shop.example", kChatPath).status, 200);
  EXPECT_EQ(asked(), "/api/v1/apps/app-sale/completion Of all.");
  simulator_.release();
  EXPECT_EQ(read_stream(held).text, "tok2 ");
}

TEST_F(Bots, WithAFaultInOneFileStayAsTheyAre) {
  write_bot("shop", "APP_ID=other\nSYSTEM_PROMPT=Changed.\n");
  write_bot("help", "APP_ID=app-help\nTIMEOUT=soon\nWORKERS=2\n");
  write_env("SYSTEM_PROMPT=\"Changed.\"\n");
  EXPECT_EQ(reload(), "reload_failed");
  EXPECT_TRUE(responder_->logs("bots.d/help.env:2: TIMEOUT: expected a number of seconds"));
  EXPECT_TRUE(responder_->logs("bots.d/help.env:3: WORKERS is a setting of the whole service"));
  EXPECT_EQ(ask("www.shop.example", kChatPath).status, 200);
  EXPECT_EQ(asked(), "/api/v1/apps/app-shop/completion You sell.");
  EXPECT_EQ(ask("main.example", kChatPath).status, 200);
  EXPECT_EQ(asked(), "/api/v1/apps/app-main/completion Of all.");
}

TEST_F(Bots, WithoutAnApplicationAnswerWithAnErrorWhichTheLogForetells) {
  write_bot("sale", "APP_ID=\n");
  EXPECT_EQ(reload(), "reloaded");
  EXPECT_TRUE(responder_->logs("not set for the bot sale"));
  expect_error(ask("main.example", "/myapi/bots/sale/v1/chat-bot"), 500, "not_configured",
               "App ID is not configured");
  EXPECT_EQ(ask("main.example", kChatPath).status, 200);
}

}  // namespace
}  // namespace bailian::e2e
