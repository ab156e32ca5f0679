// A responder that starts serves, or reports why not and exits with a documented code.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "torture.h"

namespace bailian::torture {
namespace {

class TortureStart : public TortureBase {
 protected:
  Command command(const std::vector<std::string>& arguments, Settings settings = {}) const {
    settings.merge(
        Settings{{"WORKERS", "3"}, {"TIMEOUT", "3"}, {"CONNECT_TIMEOUT", "1"}, {"FIRST_TOKEN_TIMEOUT", "1"}});
    return failing_command(settings, arguments);
  }

  // Runs the command with each call failing. Its exit code must be one of these; unless it is 0, stderr must
  // contain a reason. When no call fails, it must be the first of these.
  void survive(const std::function<Finished()>& run, const std::vector<int>& codes) {
    const auto run_once = [&] {
      const Finished finished = run();
      const std::string said = finished.out + finished.err;
      EXPECT_NE(std::find(codes.begin(), codes.end(), finished.exit_code), codes.end())
          << finished.exit_code << ": " << said;
      EXPECT_FALSE(has_sanitizer_report(said)) << said;
      EXPECT_EQ(said.find(kApiKey), said.npos) << said;
      EXPECT_TRUE(finished.exit_code == 0 || !said.empty())
          << "exit code " << finished.exit_code << " without a word";
      return finished.exit_code;
    };
    plan().count();
    plan()->from_main = true;
    ASSERT_EQ(run_once(), codes.front()) << "with nothing failing";
    const uint64_t runs = fail_each(run_once, From::kMain);
    std::cerr << testing::UnitTest::GetInstance()->current_test_info()->name() << ": " << runs
              << " failures survived\n";
  }
  void survive_run(const Command& command, const std::vector<int>& codes) {
    survive([&] { return e2e::run(command); }, codes);
  }

  // It serves, or reports why not.
  Finished serve(Process& process) {
    // The first visitor connects as early as possible, and may get no answer because of the failing call. The
    // second visitor must be served unless the process has ended.
    is_served(process);
    plan().disarm();
    const bool serves = is_served(process);
    if (serves) process.signal(SIGTERM);
    const int code = process.wait();
    EXPECT_EQ(code == 0, serves) << code;
    return {code, process.out().text(), process.err().text()};
  }
};

TEST_F(TortureStart, Serving) {
  const auto serving = command({});
  survive(
      [&] {
        Process process(serving);
        return serve(process);
      },
      {0, 69, 71, 78});
}

// Without a ledger it serves, as no cap needs one, and makes it later.
TEST_F(TortureStart, ServingWithANewLedger) {
  const auto ledger = dir().file("new-ledger");
  const auto serving = command({}, {{"LEDGER", ledger}});
  survive(
      [&] {
        std::filesystem::remove(ledger);
        std::filesystem::remove(ledger + ".journal");
        Process process(serving);
        return serve(process);
      },
      {0, 69, 71, 78});
}

TEST_F(TortureStart, Usage) { survive_run(command({"usage"}), {0, 71, 74, 77, 78}); }
TEST_F(TortureStart, Pause) {
  survive_run(command({"pause", "--message", "Back soon"}), {0, 71, 74, 77, 78});
}

TEST_F(TortureStart, ServingUnderASupervisor) {
  auto supervised = command({"--supervise"});
  supervised.announces_listen_fds = true;
  survive(
      [&] {
        std::filesystem::remove(address().unix_path);
        auto listener = listen_on_unix(address().unix_path);
        supervised.fds = {{listener.get(), 3}};
        Process process(supervised);
        listener.close();  // connections are refused when the process has ended
        return serve(process);
      },
      {0, 69, 71, 78});
}

TEST_F(TortureStart, Check) { survive_run(command({"--check"}), {0, 71, 78}); }
TEST_F(TortureStart, Ping) { survive_run(command({"--ping"}), {0, 69, 71, 75, 78}); }
TEST_F(TortureStart, PingThatAsksForQuotas) {
  survive_run(command({"--ping"}, {{"APP_ID", "another-app"}}), {78, 69, 71, 75});
}
TEST_F(TortureStart, Version) { survive_run(command({"--version"}), {0, 71}); }
TEST_F(TortureStart, BadUsage) { survive_run(command({"--nonsense"}), {64, 71}); }

// A frame is printed whole or not at all.
TEST_F(TortureStart, Top) {
  const Responder responder(responder_command(dir(), site_settings(dir(), simulator())));
  const auto screen = dir().file("screen");
  auto top = command({"top", "--listen", address().unix_path});
  survive(
      [&] {
        const Fd file(::open(screen.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        top.fds = {{file.get(), STDOUT_FILENO}};
        auto finished = e2e::run(top);
        const auto frame = read_file(screen);
        const bool is_whole = frame.starts_with("bailian-fcgi ") && frame.ends_with(" bot\n");
        EXPECT_TRUE(finished.exit_code != 0 || is_whole) << frame;
        return finished;
      },
      {0, 69, 71, 76, 77});
}

// Each file is whole or absent, and there are no other files.
TEST_F(TortureStart, Import) {
  const auto php = dir().write(
      "config.php", "<?php $api_key = '" + std::string(kApiKey) +
                        "'; $response = array('botStatus' => 1, 'StartUpMessage' => '您好', 'fontSize' => "
                        "'16', 'userAvatarURL' => 'u', 'botImageURL' => 'b', 'commonButtons' => array());");
  const auto output = dir().file("output");
  std::map<std::string, std::string> whole;
  for (const bool forced : {false, true}) {
    SCOPED_TRACE(forced ? "--force" : "");
    auto import = command({"--import-config-php", php, "--output-dir", output});
    if (forced) import.argv.emplace_back("--force");
    survive(
        [&] {
          std::filesystem::remove_all(output);
          std::filesystem::create_directory(output);
          auto finished = e2e::run(import);
          std::map<std::string, std::string> made;
          for (const auto& entry : std::filesystem::directory_iterator(output))
            made[entry.path().filename()] = read_file(entry.path());
          if (whole.empty()) whole = made;
          for (const auto& [name, content] : made)
            EXPECT_TRUE(whole.contains(name) && content == whole.at(name)) << name << ": " << content;
          EXPECT_TRUE(finished.exit_code != 0 || made.size() == 2);
          return finished;
        },
        {0, 66, 71, 73});
  }
}

}  // namespace
}  // namespace bailian::torture
