// bailian-import: an old config.php becomes .env and bot.json.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

namespace fs = std::filesystem;

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// An old config.php with the only key that the simulator accepts.
std::string config_php() {
  return R"php(<?php
function generate_chat_response($last_prompt, $conversation_history) {
    $api_key = ')php" +
         std::string(kApiKey) + R"php(';
    $conversation_history[] = array('role' => 'system', 'content' => "You are \"the clerk\" # of a shop.\nBe brief.");
    $body = array('model' => 'qwen-turbo', 'messages' => $conversation_history, 'temperature' => 0.3);
    return wp_remote_post('https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions', array(
        'headers' => array('Authorization' => 'Bearer ' . $api_key), 'body' => json_encode($body), 'timeout' => 90));
}
function load_chat_bot_base_configuration($request) {
    $response = array('botStatus' => 1, 'StartUpMessage' => '您好', 'fontSize' => '16', 'userAvatarURL' => '/u.png',
        'botImageURL' => '/b.png', 'commonButtons' => array(array('buttonText' => 'a', 'buttonPrompt' => 'b')));
    return new WP_REST_Response($response, 200);
}
)php";
}

class Import : public testing::Test {
 protected:
  Finished run_with(const std::vector<std::string>& arguments, const Settings& settings = {}) {
    return run(responder_command(dir_, settings, arguments));
  }
  Command import_command(const std::string& file, const std::vector<std::string>& more = {}) {
    Command command{
        .argv = {sibling_program("bailian-import"), file}, .env = {}, .directory = dir_.path(), .fds = {}};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    return command;
  }
  Finished import(const std::string& file, const std::vector<std::string>& more = {}) {
    return run(import_command(file, more));
  }
  mode_t mode_of(const char* name) const {
    struct stat info {};
    EXPECT_EQ(stat(dir_.file(name).c_str(), &info), 0) << name;
    return info.st_mode & 0777U;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  WorkDir dir_;
};

TEST_F(Import, MakesFilesThatTheProgramRunsOn) {
  const auto finished = import(dir_.write("config.php", config_php()));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_EQ(files(), (std::vector<std::string>{".env", "bot.json", "config.php"}));
  EXPECT_EQ(mode_of(".env"), 0600U);
  EXPECT_EQ(mode_of("bot.json"), 0644U);

  const Simulator simulator(dir_);
  const Responder responder(responder_command(dir_, {{"APP_ID", std::string(kAppId)},
                                                     {"DASHSCOPE_BASE_URL", simulator.base_url()},
                                                     {"FCGI_LISTEN", dir_.socket("fcgi")}}));
  const Nginx nginx(dir_, "nginx", stock_server("unix:" + dir_.socket("web"), "unix:" + dir_.socket("fcgi")));
  const Browser browser({.unix_path = dir_.socket("web")});
  EXPECT_EQ(browser.get(kConfigPath).body,
            R"({"botStatus":1,"StartUpMessage":"您好","fontSize":"16","userAvatarURL":"/u.png",)"
            R"("botImageURL":"/b.png","commonButtons":[{"buttonText":"a","buttonPrompt":"b"}]})");
  EXPECT_EQ(browser.post(kChatPath, chat_body("[[sim events=1]]")).status, 200);
  const auto request = simulator.last_request();
  EXPECT_EQ(text_at(request, "/body/input/messages/0/content"),
            "You are \"the clerk\" # of a shop.\nBe brief.");
  EXPECT_EQ(at(request, "/body/parameters/temperature").GetDouble(), 0.3);
}

TEST_F(Import, TellsWhatItTookAndWhatNotButNeverTheKey) {
  const auto finished = import(dir_.write("config.php", config_php()));
  for (const char* part :
       {"TEMPERATURE 0.3 (line 5)", "TIMEOUT 90 (line 7)", "commonButtons (line 11)",
        "model qwen-turbo (line 5)", "dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "dashscope.aliyuncs.com/api/v1/apps/APP_ID/completion", "APP_ID=", "bot.json"})
    EXPECT_TRUE(contains(finished.out, part)) << part << " in\n" << finished.out;
  EXPECT_FALSE(contains(finished.out + finished.err, kApiKey));
}

TEST_F(Import, OfEveryKnownVariantPassesTheCheck) {
  int variants = 0;
  for (const auto& entry : fs::directory_iterator("tests/data/config-php")) {
    const std::string name = entry.path().filename();
    const bool is_bad = name.starts_with("bad-");
    const auto finished = import(fs::absolute(entry.path()), {"--force"});
    EXPECT_EQ(finished.exit_code, is_bad ? 65 : 0) << name << finished.err;
    if (is_bad) continue;
    ++variants;
    const auto checked = run_with({"--check"}, {{"APP_ID", std::string(kAppId)}});
    EXPECT_EQ(checked.exit_code, 0) << name << checked.err;
    EXPECT_EQ(checked.err, "") << name;
    EXPECT_TRUE(contains(run_with({"--check"}).out, "application: ")) << name;
  }
  EXPECT_GE(variants, 6);
}

TEST_F(Import, WritesTheFilesOfABotWithOnlyWhatTheOldFileHas) {
  dir_.write(".env", "APP_ID=main\nDASHSCOPE_API_KEY=sk-main\nBOTS_DIR=bots.d\n");
  fs::create_directory(dir_.file("bots.d"));
  const std::vector<std::string> as_bot = {"--bot", "shop", "--output-dir", "bots.d", "--force"};
  const auto finished = import(dir_.write("config.php", config_php()), as_bot);
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_TRUE(contains(finished.out, "as in .env, unless you add it:\n  APP_ID\n")) << finished.out;
  EXPECT_TRUE(contains(finished.out, "/myapi/bots/shop/v1")) << finished.out;
  EXPECT_FALSE(contains(finished.out + finished.err, kApiKey));
  EXPECT_EQ(mode_of("bots.d/shop.env"), 0600U);
  const std::string env = read_file(dir_.file("bots.d/shop.env"));
  EXPECT_TRUE(contains(env, kApiKey)) << env;
  EXPECT_TRUE(contains(env, "TEMPERATURE=0.3\n")) << env;
  EXPECT_TRUE(contains(env, "/bots.d/shop.json")) << env;
  for (const char* absent : {"APP_ID=", "DEBUG="}) EXPECT_FALSE(contains(env, absent)) << env;
  for (const auto& entry : fs::directory_iterator("tests/data/config-php")) {
    if (entry.path().filename().string().starts_with("bad-")) continue;
    EXPECT_EQ(import(fs::absolute(entry.path()), as_bot).exit_code, 0) << entry.path();
    const auto checked = run_with({"check"});
    EXPECT_EQ(checked.exit_code, 0) << entry.path() << checked.err;
    EXPECT_TRUE(contains(checked.out, "\nbot shop: application ")) << checked.out;
    EXPECT_TRUE(contains(checked.out, "the configuration is good\n")) << checked.out;
  }
  for (const char* name : {"Shop", "default", "../x", "a.b", "-a"}) {
    const auto refused = import(dir_.file("config.php"), {"--bot=" + std::string(name)});
    EXPECT_EQ(refused.exit_code, 64) << name;
    EXPECT_EQ(
        refused.err,
        "bailian-import: --bot: a name has 1 to 32 characters of a-z, 0-9 and -, and is not \"default\"\n");
  }
}

TEST_F(Import, ReadsAByteOrderMarkAndNamesUtf16) {
  const auto finished = import(dir_.write("config.php", "\xef\xbb\xbf" + config_php()));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_TRUE(contains(read_file(dir_.file(".env")), kApiKey));
  std::string wide = "\xff\xfe";
  for (const char c : config_php()) wide += {c, '\0'};
  const auto php = dir_.write("utf-16.php", wide);
  const auto refused = import(php, {"--force"});
  EXPECT_EQ(refused.exit_code, 65);
  EXPECT_EQ(refused.err, "bailian-import: " + php + ": the file is UTF-16: save it as UTF-8\n");
}

TEST_F(Import, ReplacesNothingUnlessForced) {
  const auto php = dir_.write("config.php", config_php());
  for (const char* name : {".env", "bot.json"}) {
    dir_.write(name, "precious");
    const auto finished = import(php);
    EXPECT_EQ(finished.exit_code, 73);
    EXPECT_TRUE(contains(finished.err, std::string(name) + " already exists")) << finished.err;
    EXPECT_EQ(read_file(dir_.file(name)), "precious");
    EXPECT_EQ(files().size(), 2U) << name;
    fs::remove(dir_.file(name));
  }
  fs::create_symlink("nowhere", dir_.file(".env"));
  EXPECT_EQ(import(php).exit_code, 73);
  fs::remove(dir_.file(".env"));

  dir_.write(".env", "old");
  dir_.write("bot.json", "old");
  chmod(dir_.file(".env").c_str(), 0644);
  EXPECT_EQ(import(php, {"--force"}).exit_code, 0);
  EXPECT_EQ(mode_of(".env"), 0600U);
  EXPECT_TRUE(contains(read_file(dir_.file(".env")), kApiKey));
  EXPECT_TRUE(contains(read_file(dir_.file("bot.json")), "您好"));
  EXPECT_EQ(files().size(), 3U);
}

TEST_F(Import, WritesWhereItIsTold) {
  const auto php = dir_.write("config.php", config_php());
  fs::create_directory(dir_.file("there"));
  EXPECT_EQ(import(php, {"--output-dir", "there"}).exit_code, 0);
  EXPECT_EQ(files(), (std::vector<std::string>{"config.php", "there"}));
  // The profile is found from any directory.
  EXPECT_EQ(run({.argv = {sibling_program("bailian-fcgi"), "--check", "--env-file", dir_.file("there/.env")},
                 .env = {},
                 .directory = "/",
                 .fds = {}})
                .exit_code,
            0);
  const auto finished = import(php, {"--output-dir", "nowhere"});
  EXPECT_EQ(finished.exit_code, 73);
  EXPECT_TRUE(contains(finished.err, "nowhere")) << finished.err;
}

TEST_F(Import, SaysWhatIsWrongWithAFile) {
  auto finished = import("nowhere.php");
  EXPECT_EQ(finished.exit_code, 66);
  EXPECT_TRUE(contains(finished.err, "nowhere.php")) << finished.err;
  EXPECT_EQ(import(".").exit_code, 66);
  finished = import(dir_.write("cut.php", config_php().substr(0, 300)));
  EXPECT_EQ(finished.exit_code, 65);
  EXPECT_TRUE(contains(finished.err, "cut.php: line ")) << finished.err;
  finished = import(dir_.write("long.php", std::string((1 << 20) + 1, ' ')));
  EXPECT_EQ(finished.exit_code, 65);
  EXPECT_TRUE(contains(finished.err, "longer than 1048576 bytes")) << finished.err;
  EXPECT_EQ(files(), (std::vector<std::string>{"cut.php", "long.php"}));
}

TEST_F(Import, LeavesNothingBehindWhenItCannotWrite) {
  const auto php = dir_.write("config.php", "<?php $api_key = '" + std::string(kApiKey) +
                                                "'; $system_prompt = '" + std::string(1000, 'x') + "';");
  for (const char* blocks : {"0", "1"}) {  // each of 512 bytes
    auto command = import_command(php);
    command.argv.insert(command.argv.begin(),
                        {"/bin/sh", "-c", R"(trap '' XFSZ; ulimit -f "$0"; exec "$@")", blocks});
    const auto finished = run(command);
    EXPECT_EQ(finished.exit_code, 73);
    // A coverage build cannot write its counters either, and reports that.
    EXPECT_TRUE(finished.err.starts_with(
        "bailian-import: cannot write: " + fs::canonical(dir_.path()).string() + "/.env: File too large\n"))
        << finished.err;
    EXPECT_EQ(files(), (std::vector<std::string>{"config.php"}));
  }
}

TEST_F(Import, SaysHowItIsUsed) {
  const auto help = run(import_command("--help"));
  EXPECT_EQ(help.exit_code, 0);
  for (const char* part : {"--output-dir", "--force", "--version", "config.php", "65", "66", "73"})
    EXPECT_TRUE(contains(help.out, part)) << part;
  EXPECT_EQ(run(import_command("--version")).out, "bailian-import " BAILIAN_VERSION "\n");
  for (const char* bad : {"--nonsense", "--force"}) {
    const auto finished = run(import_command(bad));
    EXPECT_EQ(finished.exit_code, 64) << bad;
    EXPECT_TRUE(finished.err.starts_with("bailian-import: ")) << finished.err;
  }
  EXPECT_EQ(import("config.php", {"second.php"}).exit_code, 64);
}

TEST_F(Import, IsRunByItsFormerOptionToo) {
  const auto php = dir_.write("config.php", config_php());
  fs::create_directory(dir_.file("there"));
  dir_.write("there/.env", "old");
  const std::vector<std::string> former = {"--import-config-php", php, "--output-dir", "there"};
  EXPECT_EQ(run_with(former).exit_code, 73);
  auto forced = former;
  forced.emplace_back("--force");
  EXPECT_EQ(run_with(forced).exit_code, 0);
  EXPECT_TRUE(contains(read_file(dir_.file("there/.env")), kApiKey));
  EXPECT_EQ(run_with({"--check", "--force"}).exit_code, 64);
  EXPECT_EQ(run_with({"--check", "--output-dir", "."}).exit_code, 64);
}

TEST_F(Import, IsMissedByItsFormerOption) {
  const auto alone = dir_.file("bailian-fcgi");
  fs::copy_file(sibling_program("bailian-fcgi"), alone);
  const auto finished = run({.argv = {alone, "--import-config-php", dir_.write("config.php", config_php())},
                             .env = {},
                             .directory = dir_.path(),
                             .fds = {}});
  EXPECT_EQ(finished.exit_code, 71);
  EXPECT_EQ(finished.err, "bailian-fcgi: --import-config-php: cannot run " +
                              fs::canonical(dir_.path()).string() +
                              "/bailian-import: No such file or directory\n");
}

}  // namespace
}  // namespace bailian::e2e
