// The command line, the settings and the log.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/scripted_upstream.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

class CommandLine : public testing::Test {
 protected:
  Finished run_with(const std::vector<std::string>& arguments, const Settings& settings = {}) {
    return run(responder_command(dir_, settings, arguments));
  }
  Settings good_settings() const { return site_settings(dir_, simulator_); }
  Finished check(Settings settings) {
    settings.merge(good_settings());
    return run_with({"--check"}, settings);
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
};

TEST_F(CommandLine, TellsItsVersion) {
  const auto finished = run_with({"--version"});
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_TRUE(contains(finished.out, BAILIAN_VERSION)) << finished.out;
}

TEST_F(CommandLine, HelpsWithEveryOption) {
  const auto finished = run_with({"--help"});
  EXPECT_EQ(finished.exit_code, 0);
  for (const char* word : {"--env-file", "--listen", "--supervise", "--version", "--help", "serve", "check",
                           "ping", "top", "SIGHUP", "Exit codes: 0"})
    EXPECT_TRUE(contains(finished.out, word)) << word;
}

TEST_F(CommandLine, HelpsWithEachCommand) {
  const std::map<std::string, std::vector<std::string>> options = {
      {"serve", {"--env-file", "--listen", "--supervise"}},
      {"check", {"--env-file", "--listen", "--strict"}},
      {"ping", {"--env-file", "--bot"}},
      {"top", {"--env-file", "--listen", "--interval"}}};
  for (const auto& [command, names] : options) {
    const auto finished = run_with({command, "--help"});
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_TRUE(contains(finished.out, "Usage: bailian-fcgi " + command + " [OPTIONS]")) << finished.out;
    EXPECT_TRUE(contains(finished.out, "Exit codes: 0")) << command;
    for (const auto& name : names) EXPECT_TRUE(contains(finished.out, name)) << command << ' ' << name;
  }
}

TEST_F(CommandLine, CommandsDoWhatTheFlagsOfEarlierVersionsDo) {
  const auto file = dir_.write("site.env", "DASHSCOPE_API_KEYS=x\n");  // which is a warning
  for (const auto& [flags, command] :
       std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"--env-file", file, "--check"}, {"check", "--env-file", file}},
           {{"-t", "-e", file, "--strict"}, {"check", "-e", file, "--strict"}},
           {{"-e", file, "top", "--listen", "/nowhere"}, {"top", "-e", file, "--listen", "/nowhere"}}}) {
    const auto before = run_with(flags, good_settings());
    const auto now = run_with(command, good_settings());
    EXPECT_EQ(now.exit_code, before.exit_code) << command.front();
    EXPECT_EQ(now.out, before.out);
    EXPECT_EQ(now.err, before.err);
  }
  EXPECT_EQ(run_with({"ping"}, good_settings()).exit_code, 0);
  EXPECT_EQ(simulator_.count("requests"), 1);
}

TEST_F(CommandLine, TakesOneCommandWithOptionsOfItsOwn) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"check", "ping"},
                                             {"ping", "--strict"},
                                             {"ping", "--interval", "2"},
                                             {"serve", "--strict"},
                                             {"check", "--interval", "2"}})
    EXPECT_EQ(run_with(arguments, good_settings()).exit_code, 64) << arguments.front() << arguments.back();
}

TEST_F(CommandLine, RefusesWhatItDoesNotKnow) {
  for (const char* argument : {"--nonsense", "-z", "stray"}) {
    const auto finished = run_with({argument}, good_settings());
    EXPECT_EQ(finished.exit_code, 64) << argument;
    EXPECT_TRUE(finished.err.starts_with("bailian-fcgi: ")) << finished.err;
    EXPECT_TRUE(contains(finished.err, argument)) << finished.err;
  }
  EXPECT_EQ(run_with({"--env-file"}, good_settings()).exit_code, 64);
}

TEST_F(CommandLine, PrintsOneSetting) {
  const auto file =
      dir_.write("env", "HOST = '0.0.0.0' # all\nexport LOG_FORMAT=\nBOT_CONFIG_FILE=\nPORT=1\nPORT=81\n");
  const auto print = [&](const std::string& key) {
    return run_with({"--check", "--print", key, "--env-file", file},
                    {{"DASHSCOPE_API_KEY", std::string(kApiKey)}});
  };
  EXPECT_EQ(print("HOST").out, "0.0.0.0\n");
  EXPECT_EQ(print("PORT").out, "81\n");
  const auto empty = print("LOG_FORMAT");
  EXPECT_EQ(empty.out, "\n");
  EXPECT_EQ(empty.exit_code, 0);
  const auto unset = print("DEBUG");
  EXPECT_EQ(unset.out + unset.err, "");
  EXPECT_EQ(unset.exit_code, 1);
  for (const char* key : {"DASHSCOPE_API_KEY", "BIZ_PARAMS", "NONSENSE"}) {
    const auto refused = print(key);
    EXPECT_EQ(refused.exit_code, 64) << key;
    EXPECT_EQ(refused.out, "");
    EXPECT_EQ(refused.err,
              "bailian-fcgi: --print: " + std::string(key) + " is not a setting that can be printed\n");
  }
  dir_.write("env", "WORKERS=x\n");
  EXPECT_EQ(print("HOST").exit_code, 78);
  EXPECT_EQ(run_with({"--print", "HOST"}).exit_code, 64);
}

TEST_F(CommandLine, SupervisesOnlyWhatServes) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--supervise", "--check"},
                                             {"--supervise", "--ping"},
                                             {"--supervise", "--import-config-php", "config.php"},
                                             {"--supervise", "check"},
                                             {"--supervise", "ping"},
                                             {"--supervise", "top"},
                                             {"top", "--supervise"}}) {
    const auto finished = run_with(arguments, good_settings());
    EXPECT_EQ(finished.exit_code, 64) << arguments.back();
    EXPECT_TRUE(contains(finished.err, "--supervise")) << finished.err;
  }
}

TEST_F(CommandLine, ChecksGoodSettings) {
  EXPECT_EQ(check({}).exit_code, 0);
  EXPECT_EQ(simulator_.count("requests"), 0);
}

TEST_F(CommandLine, ChecksAndListsAllFaultsTogether) {
  const Settings faults{{"PORT", "eighty"},
                        {"DEBUG", "maybe"},
                        {"TEMPERATURE", "2"},
                        {"MAX_STREAMS", "-1"},
                        {"MAX_BODY_BYTES", "1e6"},
                        {"IDLE_TIMEOUT", "soon"},
                        {"WORKERS", "0"},
                        {"FCGI_SOCKET_MODE", "999"},
                        {"DASHSCOPE_PARAMETERS", "[1]"},
                        {"DASHSCOPE_BASE_URL", "ftp://example.com"},
                        {"LOG_FORMAT", "yaml"},
                        {"BOT_CONFIG_FILE", "/nonexistent/bot.json"}};
  const auto finished = check(faults);
  EXPECT_EQ(finished.exit_code, 78);
  for (const auto& [key, value] : faults) {
    EXPECT_TRUE(contains(finished.err, key)) << key << " in " << finished.err;
    EXPECT_TRUE(contains(finished.err, value)) << value << " in " << finished.err;
  }
}

TEST_F(CommandLine, DoesNotStartWithFaultySettings) {
  auto settings = good_settings();
  settings["WORKERS"] = "eighty";
  EXPECT_EQ(run_with({}, settings).exit_code, 78);
}

TEST_F(CommandLine, ShowsFaultySettingsAsPlainText) {
  const auto finished = check({{"WORKERS", "1\u009b31m\x1b]0;x\x07\u202e"}});
  EXPECT_EQ(finished.exit_code, 78);
  for (const char* control : {"\xc2\x9b", "\x1b", "\x07", "\u202e"})
    EXPECT_FALSE(contains(finished.err, control));
}

TEST_F(CommandLine, DoesNotShowSecrets) {
  const auto finished = check({{"DASHSCOPE_API_KEY", "sk-5b1e9c3d\nvalue"}, {"WORKERS", "eighty"}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_FALSE(contains(finished.out + finished.err, "5b1e9c3d")) << finished.err;
}

TEST_F(CommandLine, NamesFileAndLineOfAFault) {
  const auto file = dir_.write("site.env", "# a comment\n\nAPP_ID=x\nPORT=eighty\n");
  const auto finished = run_with({"--check", "--env-file", file});
  EXPECT_EQ(finished.exit_code, 78);
  for (const char* part : {"site.env", "4", "PORT", "eighty"})
    EXPECT_TRUE(contains(finished.err, part)) << part;
}

TEST_F(CommandLine, SendsPlainTextOnlyToThisMachine) {
  EXPECT_EQ(check({{"DASHSCOPE_BASE_URL", "http://dashscope.example/api/v1"}}).exit_code, 78);
  EXPECT_EQ(check({{"DASHSCOPE_BASE_URL", "https://dashscope.example/api/v1"}}).exit_code, 0);
}

TEST_F(CommandLine, WarnsOfACaBundleThatCannotBeRead) {
  const std::string url = "https://dashscope.example/api/v1";
  for (const auto& [file, reason] : {std::pair{dir_.file("none.pem"), "No such file or directory"},
                                     std::pair{dir_.write("bad.pem", "x\n"), "it has no certificates"},
                                     std::pair{dir_.path(), "Is a directory"}}) {
    const auto finished = check({{"DASHSCOPE_BASE_URL", url}, {"SSL_CERT_FILE", file}});
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_TRUE(contains(finished.err, "warning: cannot read the CA bundle " + file + ": " + reason))
        << finished.err;
  }
  EXPECT_EQ(check({{"SSL_CERT_FILE", dir_.file("none.pem")}}).err, "");  // plain HTTP needs none
  std::filesystem::create_directory(dir_.file("bots.d"));
  dir_.write("bots.d/shop.env", "DASHSCOPE_BASE_URL=" + url + "\n");
  const auto finished = check({{"BOTS_DIR", dir_.file("bots.d")}, {"SSL_CERT_FILE", dir_.file("none.pem")}});
  EXPECT_TRUE(contains(finished.err, "warning: cannot read the CA bundle ")) << finished.err;
  EXPECT_TRUE(contains(finished.out, "the configuration is good, 1 warning\n")) << finished.out;
}

TEST_F(CommandLine, NamesWhatIsWrongInABotProfile) {
  const std::string profile = R"({"botStatus":"online","StartUpMessage":"Hi","fontSize":"16",)"
                              R"("userAvatarURL":"u","botImageURL":"b","commonButtons":[]})";
  auto finished = check({{"BOT_CONFIG_FILE", dir_.write("bot.json", profile)}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.err, "botStatus")) << finished.err;
  finished = check({{"BOT_CONFIG_FILE", dir_.write("bot.json", R"({"botStatus":1})")}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.err, "StartUpMessage")) << finished.err;
}

TEST_F(CommandLine, ReadsTheKeyFromAFileOfItsOwnOnly) {
  auto settings = good_settings();
  settings.erase("DASHSCOPE_API_KEY");
  const auto file = settings["DASHSCOPE_API_KEY_FILE"] = dir_.write("key", std::string(kApiKey) + "\n");
  chmod(file.c_str(), 0604);
  EXPECT_EQ(run_with({"--check"}, settings).exit_code, 78);
  chmod(file.c_str(), 0600);
  EXPECT_EQ(run_with({"--check"}, settings).exit_code, 0);
  EXPECT_EQ(run_with({"--ping"}, settings).exit_code, 0);
}

TEST_F(CommandLine, WarnsOfAMisspeltKey) {
  const auto file = dir_.write("site.env", "MAX_STREMS=5\n");
  const auto finished = run_with({"--check", "--env-file", file}, good_settings());
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_TRUE(contains(finished.err, "MAX_STREMS")) << finished.err;
  EXPECT_TRUE(contains(finished.err, "MAX_STREAMS")) << finished.err;
}

// The last line of `check`.
std::string summary(const Finished& finished) {
  const size_t start = finished.out.rfind("\nthe configuration");
  return start == std::string::npos ? finished.out : finished.out.substr(start + 1);
}

TEST_F(CommandLine, CheckCountsItsWarningsAndStrictRefusesThem) {
  EXPECT_EQ(summary(check({})), "the configuration is good\n");
  for (const auto& [content, count] :
       {std::pair{"MAX_STREMS=5\n", "1 warning"}, std::pair{"MAX_STREMS=5\nTIMOUT=5\n", "2 warnings"}}) {
    const auto file = dir_.write("site.env", content);
    auto finished = run_with({"--check", "--env-file", file}, good_settings());
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_EQ(summary(finished), std::string("the configuration is good, ") + count + "\n");
    finished = run_with({"--check", "--strict", "--env-file", file}, good_settings());
    EXPECT_EQ(finished.exit_code, 78);
    EXPECT_EQ(summary(finished), std::string("the configuration is not good, ") + count + "\n");
  }
  EXPECT_EQ(run_with({"--check", "--strict"}, good_settings()).exit_code, 0);
  EXPECT_EQ(run_with({"--strict"}, good_settings()).exit_code, 64);
}

// Checks the settings on a system whose PHP-FPM has one more pool.
class CheckBesidePhp : public CommandLine {
 protected:
  void SetUp() override {
    if (run(beside("", {"true"})).exit_code != 0) GTEST_SKIP() << "no overlay mounts here (they need root)";
    ASSERT_EQ(chown(dir_.socket("fcgi").c_str(), kOwner, kGroup), 0);
    ASSERT_EQ(chmod(dir_.socket("fcgi").c_str(), 0660), 0);
  }
  Command beside(const std::string& pool, const std::vector<std::string>& command) const {
    const std::string directory = dir_.file("etc/php/0.0/fpm/pool.d");
    std::filesystem::create_directories(directory);
    std::ofstream(directory + "/test.conf") << "[test]\nlisten = 9000\n" << pool;
    Command all{
        .argv = {"unshare", "--mount", "sh", "-c",
                 R"(mount -t overlay overlay -o "lowerdir=$0:/etc" /etc && exec "$@")", dir_.file("etc")},
        .env = {},
        .directory = dir_.path(),
        .fds = {}};
    all.argv.insert(all.argv.end(), command.begin(), command.end());
    return all;
  }
  Finished check_beside(const std::string& pool) const {
    const auto plain = responder_command(dir_, good_settings(), {"--check", "--strict"});
    auto command = beside(pool, plain.argv);
    command.env = plain.env;
    return run(command);
  }

  // Ids that no user or group of this machine has.
  static constexpr uid_t kOwner = 54'321;
  static constexpr gid_t kGroup = 54'322;
  const Fd socket_ = listen_on_unix(dir_.socket("fcgi"));
};

TEST_F(CheckBesidePhp, WarnsOfAPoolThatMayOpenTheSocket) {
  for (const char* pool : {"user = 1\ngroup = 54322\n", "user = 54321\ngroup = 1\n", "user = root\n"}) {
    const auto finished = check_beside(pool);
    EXPECT_EQ(finished.exit_code, 78) << pool;
    EXPECT_TRUE(
        contains(finished.err, "warning: /etc/php/0.0/fpm/pool.d/test.conf: the pool test runs PHP as "));
    EXPECT_TRUE(contains(finished.out, ", 1 warning\n")) << finished.out;
  }
}

TEST_F(CheckBesidePhp, IsContentWithPoolsThatMayNot) {
  for (const char* pool : {"user = 1\ngroup = 1\n", "user = nobody\n", "user = 54322\ngroup = 54321\n",
                           "user = no-such-user\n", "user = 54323\n"}) {
    const auto finished = check_beside(pool);
    EXPECT_EQ(finished.exit_code, 0) << pool;
    EXPECT_EQ(finished.err, "") << pool;
  }
  ASSERT_EQ(chmod(dir_.socket("fcgi").c_str(), 0666), 0);
  EXPECT_EQ(check_beside("user = nobody\n").exit_code, 78) << "anybody may";
}

TEST_F(CommandLine, CheckDoesNotCallPlaceholdersGood) {
  for (const auto& [key, id] : {std::pair{"your_dashscope_api_key", "your_app_id"},
                                std::pair{"sk-xxxxxxxxxxxxxxxx", "YOUR_APP_ID"}, std::pair{"", ""}}) {
    const auto file = dir_.write(
        "site.env", std::string("DASHSCOPE_API_KEY=").append(key).append("\nAPP_ID=").append(id) + "\n");
    const auto finished = run_with({"--check", "--env-file", file});
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_FALSE(contains(finished.out, "configuration is good")) << finished.out;
    EXPECT_TRUE(
        contains(finished.out, "\nthe configuration is not complete: it has no DASHSCOPE_API_KEY and APP_ID"))
        << finished.out;
    EXPECT_EQ(contains(finished.err, "site.env:1: DASHSCOPE_API_KEY: a placeholder"), *key != '\0')
        << finished.err;
    EXPECT_EQ(contains(finished.err, "site.env:2: APP_ID: a placeholder"), *id != '\0') << finished.err;
    EXPECT_EQ(run_with({"--check", "--strict", "--env-file", file}).exit_code, 78);
  }
}

TEST_F(CommandLine, CheckSaysWhoseThePromptAndTheTemperatureAre) {
  auto out = check({}).out;
  EXPECT_TRUE(contains(out, "\nprompt: the application's own\ntemperature: the application's own\n")) << out;
  out = check({{"SYSTEM_PROMPT", "Be kind."}, {"TEMPERATURE", "0.70"}}).out;
  EXPECT_TRUE(contains(out, "\nprompt: SYSTEM_PROMPT (8 bytes) overrides the application's own\n")) << out;
  EXPECT_TRUE(contains(out, "\ntemperature: 0.7 overrides the application's own\n")) << out;
}

TEST_F(CommandLine, CallsALongSocketPathTooLong) {
  const auto path = dir_.file(std::string(120, 'x'));
  const auto expected = ": the path is longer than 107 bytes, the maximum for a unix socket\n";
  auto finished = run_with({"--check", "--listen", path}, good_settings());
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_EQ(finished.err, std::string("bailian-fcgi: --listen") + expected);
  finished = check({{"FCGI_LISTEN", path}});
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_EQ(finished.err, std::string("bailian-fcgi: environment: FCGI_LISTEN") + expected);
}

TEST_F(CommandLine, WarnsOfAnAddressThatOtherMachinesReach) {
  for (const char* address : {"0.0.0.0:9055", "[::]:9055", "192.0.2.1:9055", "web.example:9055"}) {
    const auto finished = run_with({"--check", "--listen", address}, good_settings());
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_TRUE(
        contains(finished.err, std::string("warning: --listen: other machines can connect to ") + address))
        << finished.err;
    EXPECT_TRUE(contains(finished.err, "FastCGI has no passwords")) << finished.err;
  }
  for (const char* address : {"127.0.0.1:9055", "localhost:9055", "[::1]:9055", "/tmp/x.sock"}) {
    EXPECT_EQ(run_with({"--check", "--listen", address}, good_settings()).err, "") << address;
  }
}

// Runs as root in a user namespace in which the user of the service exists.
class CheckForService : public CommandLine {
 protected:
  void SetUp() override {
    const std::string mount = "cat /etc/passwd - >" + dir_.file("passwd") + " && mount --bind " +
                              dir_.file("passwd") + " /etc/passwd";
    run_by_ = {"unshare", "--mount", "sh", "-c",
               "echo bailian-fcgi:x:54321:54321::/nonexistent:/usr/sbin/nologin | { " + mount +
                   R"(; } && exec "$0" "$@")"};
    if (run(command({"true"})).exit_code != 0) GTEST_SKIP() << "no mount namespaces here (they need root)";
    const auto top = std::filesystem::path(dir_.socket("any")).parent_path();
    chmod(top.c_str(), 0755);
    directory_ = top / "bailian-fcgi";
    std::filesystem::create_directories(directory_);
    write("bot.json",
          R"({"botStatus":1,"StartUpMessage":"Hi","fontSize":"16","userAvatarURL":"u","botImageURL":"b",)"
          R"("commonButtons":[]})",
          0644);
    write("dashscope-api-key", "sk-0123456789abcdef\n", 0600);
    write("env", "APP_ID=shop\nDASHSCOPE_API_KEY_FILE=" + directory_ + "/dashscope-api-key\n", 0644);
  }
  Command command(const std::vector<std::string>& arguments) const {
    Command all{.argv = run_by_, .env = {}, .directory = dir_.path(), .fds = {}};
    all.argv.insert(all.argv.end(), arguments.begin(), arguments.end());
    return all;
  }
  void write(const std::string& name, const std::string& text, mode_t mode) const {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), mode);
  }
  Finished check_env() const {
    return run(command({sibling_program("bailian-fcgi"), "--check", "--env-file", directory_ + "/env"}));
  }

  std::string directory_;

 private:
  std::vector<std::string> run_by_;
};

TEST_F(CheckForService, FilesThatItsUserCannotReadAreFaults) {
  EXPECT_EQ(check_env().exit_code, 0) << check_env().err;
  chmod((directory_ + "/env").c_str(), 0600);
  auto finished = check_env();
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(
      contains(finished.err, directory_ + "/env: the service's user bailian-fcgi cannot read it: chgrp"))
      << finished.err;
  EXPECT_TRUE(contains(finished.out, "the configuration is not good\n")) << finished.out;
  EXPECT_TRUE(contains(finished.out, "bailian-fcgi.socket")) << finished.out;
}

TEST_F(CheckForService, FilesOfBotsThatItsUserCannotReadAreFaults) {
  std::filesystem::create_directory(directory_ + "/bots.d");
  write("env", "APP_ID=x\nBOTS_DIR=" + directory_ + "/bots.d\n", 0644);
  write("bots.d/shop.key", "sk-0123456789abcdef\n", 0600);
  write("bots.d/shop.env", "DASHSCOPE_API_KEY_FILE=" + directory_ + "/bots.d/shop.key\n", 0600);
  const auto finished = check_env();
  EXPECT_EQ(finished.exit_code, 78);
  const std::string cannot = ": the service's user bailian-fcgi cannot read it: ";
  for (const auto& [file, remedy] :
       {std::pair{"shop.env", "chgrp bailian-fcgi "}, {"shop.key", "chown bailian-fcgi "}})
    EXPECT_TRUE(contains(finished.err, directory_ + "/bots.d/" + file + cannot + remedy)) << finished.err;
  chmod((directory_ + "/bots.d/shop.env").c_str(), 0644);
  ASSERT_EQ(chown((directory_ + "/bots.d/shop.key").c_str(), 54321, 54321), 0);
  EXPECT_EQ(check_env().exit_code, 0) << check_env().err;
  chmod((directory_ + "/bots.d/shop.key").c_str(), 0640);
  EXPECT_TRUE(contains(check_env().err, "shop.key can be read by others (mode 0640): chmod 600 it"))
      << check_env().err;
  EXPECT_EQ(check_env().exit_code, 78);
}

TEST_F(CheckForService, KeyFilesOfFurtherTargetsAreReadByTheServiceItself) {
  write("second.key", "sk-fedcba9876543210\n", 0644);
  write("env",
        "APP_ID=shop\nDASHSCOPE_API_KEY_FILE=" + directory_ +
            "/dashscope-api-key\nDASHSCOPE_API_KEY_FILE_2=" + directory_ + "/second.key\n",
        0644);
  EXPECT_EQ(check_env().exit_code, 78);
  EXPECT_TRUE(contains(check_env().err, "second.key can be read by others (mode 0644): chmod 600 it"))
      << check_env().err;
  chmod((directory_ + "/second.key").c_str(), 0600);
  EXPECT_EQ(check_env().exit_code, 78);
  EXPECT_TRUE(contains(check_env().err,
                       "second.key: the service's user bailian-fcgi cannot read it: chown bailian-fcgi "))
      << check_env().err;
  ASSERT_EQ(chown((directory_ + "/second.key").c_str(), 54321, 54321), 0);
  EXPECT_EQ(check_env().exit_code, 0) << check_env().err;
}

TEST_F(CheckForService, TheFirstKeyFileIsReadByTheServiceIfAFurtherTargetNamesItToo) {
  const std::string first = directory_ + "/dashscope-api-key";
  const std::string settings = "APP_ID=shop\nAPP_ID_2=spare\nDASHSCOPE_API_KEY_FILE=" + first + "\n";
  write("env", settings, 0644);
  EXPECT_EQ(check_env().exit_code, 0) << check_env().err;
  write("env", settings + "DASHSCOPE_API_KEY_FILE_2=" + first + "\n", 0644);
  EXPECT_EQ(check_env().exit_code, 78);
  EXPECT_TRUE(contains(check_env().err, first + ": the service's user bailian-fcgi cannot read it: "))
      << check_env().err;
}

TEST_F(CommandLine, ChecksEveryTarget) {
  auto settings = good_settings();
  settings["APP_ID"] = "one";
  settings["APP_ID_2"] = "two";
  settings["DASHSCOPE_BASE_URL_2"] = "https://dashscope-intl.aliyuncs.com/api/v1";
  auto finished = run_with({"check"}, settings);
  EXPECT_TRUE(contains(finished.out, "target 1: application one, key set, http://127.0.0.1:"))
      << finished.out;
  EXPECT_TRUE(contains(finished.out,
                       "\ntarget 2: application two, key set, https://dashscope-intl.aliyuncs.com/api/v1\n"))
      << finished.out;
  EXPECT_EQ(summary(finished), "the configuration is good\n");
  settings["APP_ID"] = "";
  finished = run_with({"check"}, settings);
  EXPECT_TRUE(contains(finished.err, "warning: target 1 is not asked: it has no application\n"))
      << finished.err;
  EXPECT_EQ(summary(finished), "the configuration is good, 1 warning\n");
  settings["APP_ID_2"] = "";
  settings.erase("DASHSCOPE_API_KEY");
  finished = run_with({"check"}, settings);
  EXPECT_FALSE(contains(finished.err, "is not asked")) << finished.err;
  EXPECT_EQ(summary(finished), "the configuration is not complete: it has no DASHSCOPE_API_KEY and APP_ID\n");
}

TEST_F(CommandLine, ChecksEveryTargetOfABot) {
  std::filesystem::create_directory(dir_.file("bots.d"));
  dir_.write("bots.d/shop.env", "APP_ID=one\nAPP_ID_2=two\nDASHSCOPE_API_KEY_2=sk-your-key\n");
  auto settings = good_settings();
  settings["BOTS_DIR"] = dir_.file("bots.d");
  const auto finished = run_with({"check"}, settings);
  EXPECT_TRUE(contains(finished.out, "\nbot shop: 2 targets\nbot shop: target 1: application one, key set, "))
      << finished.out;
  EXPECT_TRUE(contains(finished.out, "\nbot shop: target 2: application two, key not set, http://"))
      << finished.out;
  EXPECT_TRUE(contains(finished.err, "warning: bot shop: target 2 is not asked: it has no key\n"))
      << finished.err;
}

TEST_F(CommandLine, ChecksEveryBot) {
  std::filesystem::create_directory(dir_.file("bots.d"));
  dir_.write("bots.d/help.env", "APP_ID=help-app\n");
  dir_.write("bots.d/shop.env", "APP_ID=\nDASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com/api/v1\n");
  auto settings = good_settings();
  settings["BOTS_DIR"] = dir_.file("bots.d");
  settings["BOT_HOSTS"] = "www.help.example=help,b.example=help";
  auto finished = run_with({"check"}, settings);
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_TRUE(
      contains(finished.out, "\nbot help: application help-app, host b.example, host www.help.example\n"))
      << finished.out;
  EXPECT_TRUE(contains(
      finished.out,
      "\nbot shop: no APP_ID, chats will get an error, https://dashscope-intl.aliyuncs.com/api/v1\n"))
      << finished.out;
  EXPECT_TRUE(contains(finished.out, "the configuration is not complete: it has no APP_ID for shop\n"))
      << finished.out;
  dir_.write("bots.d/shop.env", "TIMEOUT=x\n\nWORKERS=1\n");
  dir_.write("bots.d/Help.env", "");
  finished = run_with({"check"}, settings);
  EXPECT_EQ(finished.exit_code, 78);
  for (const char* part : {"bots.d/shop.env:1: TIMEOUT: expected", "bots.d/shop.env:3: WORKERS is a setting",
                           "bots.d/Help.env: a bot's name has"})
    EXPECT_TRUE(contains(finished.err, part)) << finished.err;
}

TEST_F(CheckForService, AKeyFileThatOthersCanReadIsAWarningAsSystemdPassesItOn) {
  chmod((directory_ + "/dashscope-api-key").c_str(), 0644);
  const auto finished = check_env();
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_TRUE(contains(finished.err, "warning: ")) << finished.err;
  EXPECT_TRUE(contains(finished.err, "can be read by others (mode 0644): chmod 600 it\n")) << finished.err;
  EXPECT_TRUE(contains(finished.out, "the configuration is good, 1 warning\n")) << finished.out;
}

TEST_F(CheckForService, AnotherKeyFileIsNamed) {
  write("other-key", "sk-0123456789abcdef\n", 0600);
  write("env", "APP_ID=shop\nDASHSCOPE_API_KEY_FILE=" + directory_ + "/other-key\n", 0644);
  EXPECT_TRUE(contains(check_env().err, "the service does not read " + directory_ + "/other-key"))
      << check_env().err;
}

TEST_F(CommandLine, PingsTheUpstream) {
  EXPECT_EQ(run_with({"--ping"}, good_settings()).exit_code, 0);
  EXPECT_EQ(simulator_.count("requests"), 1);
}

TEST_F(CommandLine, PingsTheBotThatIsNamed) {
  std::filesystem::create_directory(dir_.file("bots.d"));
  dir_.write("bots.d/shop.env", "APP_ID=another-app\n");
  dir_.write("bots.d/bare.env", "APP_ID=\n");
  auto settings = good_settings();
  settings["BOTS_DIR"] = dir_.file("bots.d");
  EXPECT_EQ(run_with({"ping", "--bot", "default"}, settings).exit_code, 0);
  auto finished = run_with({"ping", "--bot", "shop"}, settings);
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.out, "App.AccessDenied")) << finished.out;
  EXPECT_EQ(run_with({"ping", "--bot", "bare"}, settings).out,
            "APP_ID is not configured: put it into " + dir_.file("bots.d/bare.env") + "\n");
  finished = run_with({"ping", "--bot", "sale"}, settings);
  EXPECT_EQ(finished.exit_code, 64);
  EXPECT_EQ(finished.err, "bailian-fcgi: --bot: there is no bot sale\n");
}

TEST_F(CommandLine, PingsInVain) {
  auto settings = good_settings();
  settings["DASHSCOPE_API_KEY"] = "sk-another-7c9e6679";
  auto finished = run_with({"--ping"}, settings);
  EXPECT_EQ(finished.exit_code, 77);
  EXPECT_TRUE(contains(finished.out + finished.err, "InvalidApiKey")) << finished.err;
  EXPECT_FALSE(contains(finished.out + finished.err, "sk-another-7c9e6679"));

  settings = good_settings();
  settings["DASHSCOPE_BASE_URL"] = "http://127.0.0.1:" + std::to_string(unused_port()) + "/api/v1";
  EXPECT_EQ(run_with({"--ping"}, settings).exit_code, 69);
}

TEST_F(CommandLine, PingsOnlyWhatIsConfigured) {
  for (const char* key : {"DASHSCOPE_API_KEY", "APP_ID"}) {
    auto settings = good_settings();
    settings.erase(key);
    const auto finished = run_with({"--ping"}, settings);
    EXPECT_EQ(finished.exit_code, 78);
    EXPECT_EQ(finished.out, std::string(key) + " is not configured: put it into .env\n");
  }
  auto settings = good_settings();
  settings.erase("DASHSCOPE_API_KEY");
  const auto file = settings["DASHSCOPE_API_KEY_FILE"] = dir_.write("key", "\n");
  chmod(file.c_str(), 0600);
  EXPECT_EQ(run_with({"--ping"}, settings).out,
            "DASHSCOPE_API_KEY is not configured: put it into " + file + "\n");
  EXPECT_TRUE(contains(run_with({"--check"}, settings).out,
                       "key: not set in " + file + ", chats will get an error\n"));
}

struct PingFault {
  int status;
  const char* code;
  int exit_code;
  const char* advice;
};

TEST_F(CommandLine, PingSaysWhatToDoAboutAFailure) {
  const ScriptedUpstream upstream;
  auto settings = good_settings();
  settings["DASHSCOPE_BASE_URL"] = upstream.base_url();
  settings["UPSTREAM_RETRIES"] = "0";
  for (const auto& [status, code, exit_code, advice] :
       {PingFault{403, "App.AccessDenied", 78, "Check APP_ID"}, PingFault{400, "Arrearage", 69, "billing"},
        PingFault{429, "Throttling", 75, "try again"}, PingFault{500, "InternalError", 69, "status page"}}) {
    Process ping(responder_command(dir_, settings, {"--ping"}));
    const std::string body = std::string(R"({"code":")") + code + R"(","message":"m","request_id":"r-7"})";
    upstream.accept().send("HTTP/1.1 " + std::to_string(status) +
                           " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    if (exit_code == 78) upstream.accept().close();  // the quotas
    EXPECT_EQ(ping.wait(), exit_code) << code;
    for (const char* part : {code, "r-7", advice}) EXPECT_TRUE(contains(ping.out().text(), part)) << part;
  }
}

TEST_F(CommandLine, PingShowsTheUpstreamsWordsAsPlainText) {
  const ScriptedUpstream upstream;
  auto settings = good_settings();
  settings["DASHSCOPE_BASE_URL"] = upstream.base_url();
  settings["UPSTREAM_RETRIES"] = "0";
  const auto answered = [&](const std::string& status, const std::string& body) {
    Process ping(responder_command(dir_, settings, {"--ping"}));
    upstream.accept().send("HTTP/1.1 " + status + " X\r\nContent-Length: " + std::to_string(body.size()) +
                           "\r\n\r\n" + body);
    const int code = ping.wait();
    const std::string out = ping.out().text();
    for (const char* control : {"\xc2\x9b", "\x1b", "\x07", "\u202e"})
      EXPECT_FALSE(contains(out, control)) << out;
    return std::pair{code, out};
  };
  const auto [failed, failure] = answered(
      "429",
      R"({"code":"Unheard","message":"\u009b31m\u001b]0;x\u0007\u202eThe budget configured in Budget Management )"
      R"(has been exhausted.","request_id":"r\u001b[2J"})");
  EXPECT_EQ(failed, 69);
  EXPECT_TRUE(contains(failure, "monthly budget is used up")) << failure;
  EXPECT_TRUE(contains(failure, "request id r [2J")) << failure;
  const auto [done, success] =
      answered("200", R"({"output":{"text":"OK","finish_reason":"stop"},"request_id":"r\u001b[2J",)"
                      R"("usage":{"models":[{"model_id":"m\u009b31m"}]}})");
  EXPECT_EQ(done, 0);
  EXPECT_TRUE(contains(success, "model m 31m,")) << success;
  EXPECT_TRUE(contains(success, "request id r [2J")) << success;
}

TEST_F(CommandLine, PingDoesNotWaitForEver) {
  const ScriptedUpstream upstream;
  auto settings = good_settings();
  settings["DASHSCOPE_BASE_URL"] = upstream.base_url();
  settings["FIRST_TOKEN_TIMEOUT"] = "0.1";
  Process ping(responder_command(dir_, settings, {"--ping"}));
  const auto call = upstream.accept();
  EXPECT_EQ(ping.wait(), 69);
  EXPECT_TRUE(contains(ping.out().text(), "Nothing came in time")) << ping.out().text();
}

TEST_F(CommandLine, RefusesAnAddressThatIsNone) {
  const auto finished = run_with({"--check", "--listen", "nonsense"}, good_settings());
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_TRUE(contains(finished.err, "--listen: expected a socket path")) << finished.err;
}

// The system prompt that the upstream receives shows which settings were read.
class EnvFile : public CommandLine {
 protected:
  std::string system_prompt_from(const std::string& file_content, const std::string& file_name,
                                 const std::vector<std::string>& arguments, Settings more = {}) {
    dir_.write(file_name, file_content);
    auto settings = good_settings();
    settings.merge(more);
    const Responder responder(responder_command(dir_, settings, arguments));
    const Nginx nginx(dir_, "nginx",
                      stock_server("unix:" + dir_.socket("web"), "unix:" + dir_.socket("fcgi")));
    const Browser browser({.unix_path = dir_.socket("web")});
    EXPECT_EQ(browser.post(kChatPath, chat_body("[[sim events=1]]")).status, 200);
    return text_at(simulator_.last_request(), "/body/input/messages/0/content");
  }
};

TEST_F(EnvFile, IsReadAsPythonDotenvDoes) {
  const std::pair<const char*, const char*> table[] = {
      {"SYSTEM_PROMPT=plain text # comment\n", "plain text"},
      {"# first\nexport SYSTEM_PROMPT='single $HOME \\n # literal'\n", "single $HOME \\n # literal"},
      {"SYSTEM_PROMPT=\"two\\nlines \\\"quoted\\\" \\\\ 引号\"\n", "two\nlines \"quoted\" \\ 引号"},
      {"SYSTEM_PROMPT = spaced \r\nDEBUG=False\r\n", "spaced"},
  };
  for (const auto& [content, prompt] : table) EXPECT_EQ(system_prompt_from(content, ".env", {}), prompt);
}

TEST_F(EnvFile, OfTheFlaskRewriteWorksUnchanged) {
  dir_.write(".env", "# 阿里云百炼\nAPI_KEY=" + std::string(kApiKey) + "\nAPP_ID=" + std::string(kAppId) +
                         "\n\nHOST=0.0.0.0\nPORT=8000\nDEBUG=True\n\nSYSTEM_PROMPT=你是客服助手。\n"
                         "TEMPERATURE=0.3\nTIMEOUT=120\nCONNECT_TIMEOUT=30\n");
  const Settings where{{"DASHSCOPE_BASE_URL", simulator_.base_url()}};
  const auto checked = run_with({"--check"}, where);
  EXPECT_EQ(checked.exit_code, 0) << checked.err;
  EXPECT_EQ(checked.err, "");
  EXPECT_EQ(run_with({"--ping"}, where).exit_code, 0);
  const auto request = simulator_.last_request();
  EXPECT_EQ(text_at(request, "/body/input/messages/0/content"), "你是客服助手。");
  EXPECT_EQ(at(request, "/body/parameters/temperature").GetDouble(), 0.3);
}

TEST_F(EnvFile, MayBeNamed) {
  EXPECT_EQ(system_prompt_from("SYSTEM_PROMPT=named\n", "site.env", {"--env-file", dir_.file("site.env")}),
            "named");
}

TEST_F(EnvFile, ThatCannotBeReadStopsTheStart) {
  const auto directory = dir_.file("site.env");
  mkdir(directory.c_str(), 0700);
  for (const auto& file : {directory, dir_.file("nowhere.env")}) {
    for (const char* how : {"--check", "--ping"}) {
      const auto finished = run_with({how, "--env-file", file}, good_settings());
      EXPECT_EQ(finished.exit_code, 78);
      EXPECT_TRUE(contains(finished.err, file)) << finished.err;
    }
  }
}

TEST_F(EnvFile, OfThePlaceThatCannotBeReadStopsTheStart) {
  const auto expect_stopped = [&] {
    const auto finished = run_with({}, good_settings());
    EXPECT_EQ(finished.exit_code, 78);
    EXPECT_TRUE(contains(finished.err, ".env")) << finished.err;
  };
  mkdir(dir_.file(".env").c_str(), 0700);
  expect_stopped();
  rmdir(dir_.file(".env").c_str());
  ASSERT_EQ(symlink("nowhere", dir_.file(".env").c_str()), 0);
  expect_stopped();
}

TEST_F(EnvFile, YieldsToTheEnvironment) {
  EXPECT_EQ(system_prompt_from("SYSTEM_PROMPT=file\n", ".env", {}, {{"SYSTEM_PROMPT", "environment"}}),
            "environment");
}

class Log : public SharedSite<Log> {
 protected:
  static Json line_of(const Response& answer) {
    return site().responder().request_line(answer.headers.get("X-Request-Id"));
  }
};

TEST_F(Log, HasALineForAStreamedChat) {
  auto exchange = site().stream("[[sim events=3]]");
  const auto answer = read_stream(exchange);
  const auto line = site().responder().request_line(exchange.headers().get("X-Request-Id"));
  EXPECT_TRUE(text_at(line, "/time").ends_with("Z"));
  EXPECT_EQ(text_at(line, "/level"), "info");
  EXPECT_EQ(text_at(line, "/method"), "POST");
  EXPECT_EQ(text_at(line, "/path"), kStreamPath);
  EXPECT_EQ(number_at(line, "/status"), 200);
  EXPECT_EQ(text_at(line, "/outcome"), "done");
  EXPECT_GT(number_at(line, "/bytes"), 0);
  EXPECT_GE(at(line, "/ttft_ms").GetDouble(), 0);
  EXPECT_GE(at(line, "/duration_ms").GetDouble(), at(line, "/ttft_ms").GetDouble());
  EXPECT_EQ(number_at(line, "/input_tokens"), number_at(answer.last, "/usage/input_tokens"));
  EXPECT_EQ(number_at(line, "/output_tokens"), number_at(answer.last, "/usage/output_tokens"));
  EXPECT_FALSE(text_at(line, "/upstream_request_id").empty());
  EXPECT_FALSE(has(line, "/upstream_code"));
}

TEST_F(Log, HasALineForAWholeAnswer) {
  const auto line = line_of(site().ask("[[sim events=3]]"));
  EXPECT_EQ(text_at(line, "/path"), kChatPath);
  EXPECT_EQ(number_at(line, "/status"), 200);
  EXPECT_EQ(text_at(line, "/outcome"), "done");
  EXPECT_GT(number_at(line, "/output_tokens"), 0);
}

TEST_F(Log, HasALineForWhatIsRefused) {
  const auto line = line_of(site().post(kChatPath, "{}"));
  EXPECT_EQ(number_at(line, "/status"), 400);
  EXPECT_EQ(text_at(line, "/outcome"), "error");
  EXPECT_FALSE(has(line, "/output_tokens"));
}

TEST(QuietLog, NeverHoldsPromptsOrAnswers) {
  Site site({.settings = {{"DEBUG", "True"}}});
  const std::string secret = "canary-5b1e9c3d";
  read_stream(site.stream("[[sim text=echo]] " + secret));
  site.ask("[[sim text=echo]] " + secret);
  site.post(kChatPath, R"({"last_prompt":")" + secret);
  site.post(kChatPath, R"({"last_prompt":"[[sim events=1]]","session_id":")" + secret + R"("})");
  site.post(kChatPath, R"({"last_prompt":"x","conversation_history":[{"role":"user","content":")" + secret +
                           R"("},{"role":"assistant","content":")" + secret + R"("}]})");
  site.stream("[[sim status=500 code=InternalError after=1]] " + secret).read_all();
  const auto last = site.get(kHealthPath).headers.get("X-Request-Id");
  site.responder().request_line(last);
  EXPECT_FALSE(contains(site.responder().log(), secret));
}

}  // namespace
}  // namespace bailian::e2e
