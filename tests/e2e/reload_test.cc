// SIGHUP reads the settings and the bot profile again.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "harness/answer.h"
#include "harness/site.h"
#include "harness/stranger.h"

namespace bailian::e2e {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

std::string profile(std::string_view greeting) {
  return R"({"botStatus":1,"StartUpMessage":)" + json_string(greeting) +
         R"(,"fontSize":"16","userAvatarURL":"u","botImageURL":"b","commonButtons":[]})";
}

// A site that starts without a key and without a .env, and reads both later.
class ReloadingSite {
 public:
  explicit ReloadingSite(Settings settings = {})
      : site_({.settings = std::move(settings), .unset = {"DASHSCOPE_API_KEY", "DEBUG"}}) {}

  Site& operator*() { return site_; }
  Site* operator->() { return &site_; }

  void write_env(const std::string& more = {}, std::string_view key = kApiKey) {
    site_.dir().write(".env", std::string("API_KEY=").append(key).append("\n") + more);
  }
  void write_profile(const std::string& text) { site_.dir().write("bot.json", text); }

  // Sends the signal and returns the event that reports the result.
  std::string reload() {
    ++reloads_;
    site_.responder().process().signal(SIGHUP);
    int seen = 0;
    const auto line = site_.responder().process().err().await_line(
        [&](std::string_view text) { return contains(text, R"("event":"reload)") && ++seen == reloads_; });
    if (!line) throw std::runtime_error("no reload event in:\n" + site_.responder().log());
    return text_at(parse_json(*line), "/event");
  }

  std::string greeting() { return text_at(site_.get(kConfigPath).json(), "/StartUpMessage"); }

 private:
  Site site_;
  int reloads_ = 0;
};

const std::string kProfileLine = "BOT_CONFIG_FILE=bot.json\n";

TEST(Reload, ReadsTheSettingsAndTheProfileAgain) {
  ReloadingSite site;
  const auto old_etag = site->get(kConfigPath).headers.get("ETag");
  expect_error(site->ask("[[sim events=1]]"), 500, "not_configured", "API Key is not configured");

  site.write_profile(profile("你好"));
  site.write_env(kProfileLine + "SYSTEM_PROMPT=\"another one\"\n");
  EXPECT_EQ(site.reload(), "reloaded");
  EXPECT_EQ(site.greeting(), "你好");
  EXPECT_NE(site->get(kConfigPath).headers.get("ETag"), old_etag);
  EXPECT_EQ(text_at(site->ask("[[sim events=2]]").json(), "/result"), tokens(2));
  EXPECT_EQ(text_at(site->simulator().last_request(), "/body/input/messages/0/content"), "another one");
}

TEST(Reload, WithFaultsChangesNothingAndNamesEach) {
  struct Bad {
    std::string env;
    std::string profile;
    std::vector<std::string> named;
  };
  const Bad table[] = {
      {"TEMPERATURE=2\nTIMEOUT=soon\nSYSTEM_PROMPT=bad\n",
       profile("bad"),
       {"TEMPERATURE", "TIMEOUT: expected"}},
      {"no setting\n", profile("bad"), {".env:4: the line is not of the form KEY=value"}},
      {"", R"({"botStatus":7})", {"botStatus: expected 0", "StartUpMessage: missing"}},
      {"", profile("bad").substr(0, 20), {"bot.json: not JSON"}},
      {"BOT_CONFIG_FILE=nowhere.json\n", profile("bad"), {"cannot read nowhere.json"}},
  };
  ReloadingSite site;
  site.write_profile(profile("good"));
  site.write_env(kProfileLine + "SYSTEM_PROMPT=good\n");
  EXPECT_EQ(site.reload(), "reloaded");
  for (const auto& [env, bad_profile, named] : table) {
    site.write_profile(bad_profile);
    site.write_env(std::string(kProfileLine).append("SYSTEM_PROMPT=bad\n").append(env), "sk-bad-5b1e9c3d");
    EXPECT_EQ(site.reload(), "reload_failed") << env;
    for (const auto& part : named) EXPECT_TRUE(site->responder().logs(part)) << part;
    EXPECT_EQ(site.greeting(), "good") << env;
    EXPECT_EQ(site->ask("[[sim events=1]]").status, 200) << env;
    EXPECT_EQ(text_at(site->simulator().last_request(), "/body/input/messages/0/content"), "good") << env;
  }
  EXPECT_FALSE(contains(site->responder().log(), "5b1e9c3d"));
}

TEST(Reload, LetsLiveChatsGoOnWithWhatTheyBeganWith) {
  ReloadingSite site;
  site.write_env();
  EXPECT_EQ(site.reload(), "reloaded");
  auto streamed = site->stream("[[sim events=3 hold=1]]");
  auto whole = site->chat("[[sim events=3 hold=0]]");
  EXPECT_EQ(read_text(streamed), "tok1 ");
  EXPECT_TRUE(site->simulator().reaches("held", 2));

  site.write_env({}, "sk-another-5b1e9c3d");
  EXPECT_EQ(site.reload(), "reloaded");
  expect_error(site->ask("[[sim events=1]]"), 502, "upstream_auth", "Authentication failed");
  EXPECT_EQ(site->simulator().count("cut"), 0);
  site->simulator().release();
  EXPECT_EQ(read_stream(streamed).text, "tok2 tok3 ");
  EXPECT_EQ(text_at(whole.read_all().json(), "/result"), tokens(3));

  site.write_env();
  EXPECT_EQ(site.reload(), "reloaded");
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
}

TEST(Reload, NamesWhatNeedsARestart) {
  ReloadingSite site;
  site.write_env(
      "WORKERS=2\nMAX_STREAMS=5\nTOKEN_COALESCE=1\nLOG_FORMAT=text\nLOG_FILE=a.log\nFCGI_SOCKET_MODE="
      "0600\nPORT=81\n");
  EXPECT_EQ(site.reload(), "reloaded");
  for (const char* key :
       {"WORKERS", "MAX_STREAMS", "TOKEN_COALESCE", "LOG_FORMAT", "LOG_FILE", "FCGI_SOCKET_MODE", "PORT"})
    EXPECT_TRUE(site->responder().logs(std::string(key) + " has changed, which needs a restart")) << key;
  EXPECT_FALSE(contains(site->responder().log(), "FCGI_LISTEN has changed"));
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
}

TEST(Reload, LetsTheEnvironmentWin) {
  ReloadingSite site(Settings{{"SYSTEM_PROMPT", "environment"}});
  site.write_env("SYSTEM_PROMPT=file\nAPP_ID=another\n");
  EXPECT_EQ(site.reload(), "reloaded");
  EXPECT_EQ(site->ask("[[sim events=1]]").status, 200);
  EXPECT_EQ(text_at(site->simulator().last_request(), "/body/input/messages/0/content"), "environment");
}

TEST(Reload, ReachesEveryWorker) {
  ReloadingSite site(Settings{{"WORKERS", "2"}});
  site.write_profile(profile("new"));
  site.write_env(kProfileLine);
  EXPECT_EQ(site.reload(), "reloaded");
  const auto threads = threads_of(site->responder().process().pid());
  for (const pid_t one : {threads.front(), threads.back()}) {
    std::optional<StoppedThread> stopped;
    try {
      stopped.emplace(one);
    } catch (const std::system_error& error) {
      GTEST_SKIP() << "threads can't be stopped here: " << error.what();
    }
    EXPECT_EQ(site.greeting(), "new") << "from the other worker";
  }
}

TEST(Reload, IsToldToSystemd) {
  const auto name = "bailian-reload-" + std::to_string(getpid());
  sockaddr_un address{};  // an abstract name begins with a NUL
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);

  ReloadingSite site(Settings{{"NOTIFY_SOCKET", "@" + name}});
  const auto next = [&socket] {
    auto message = receive_some(socket);
    while (message.starts_with("STATUS=")) message = receive_some(socket);
    return message;
  };
  EXPECT_EQ(next(), "READY=1");
  for (const char* env : {"", "TEMPERATURE=2\n"}) {
    site.write_env(env);
    site.reload();
    EXPECT_TRUE(next().starts_with("RELOADING=1\nMONOTONIC_USEC=")) << env;
    EXPECT_EQ(next(), "READY=1") << env;
  }
}

TEST(Reload, ChangesWhatIsSlow) {
  ReloadingSite site(Settings{{"SLOW_FIRST_TOKEN", "0"}});
  site.write_env("SLOW_ANSWER=0\n");
  EXPECT_EQ(site.reload(), "reloaded");
  const auto quick = site->ask("[[sim events=1]]").headers.get("X-Request-Id");
  site.write_env("SLOW_ANSWER=0.000001\n");
  EXPECT_EQ(site.reload(), "reloaded");
  const auto slow = site->ask("[[sim events=1]]").headers.get("X-Request-Id");
  const std::string line = R"("event":"slow","request_id":")";
  EXPECT_TRUE(site->responder().logs(line + slow));
  EXPECT_FALSE(contains(site->responder().log(), line + quick));
}

TEST(Reload, ChangesHowMuchIsToldAndTaken) {
  ReloadingSite site;
  site.write_env("DEBUG=True\n");
  EXPECT_EQ(site.reload(), "reloaded");
  const std::string failing = "[[sim status=400 code=InvalidParameter]]";
  EXPECT_TRUE(contains(text_at(site->ask(failing).json(), "/message"), "InvalidParameter"));
  site.write_env("DEBUG=False\nMAX_BODY_BYTES=100\n");
  EXPECT_EQ(site.reload(), "reloaded");
  EXPECT_EQ(text_at(site->ask(failing).json(), "/message"), "API Error");
  EXPECT_EQ(site->ask(std::string(100, 'x')).status, 413);
}

}  // namespace
}  // namespace bailian::e2e
