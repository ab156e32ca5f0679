// How deploy/run.sh (`make run`) treats the key and HOST.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <string>
#include <vector>

#include "harness/process.h"
#include "harness/socket.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Whether the port is open on an address of this machine other than 127.0.0.1.
bool is_open_beyond_loopback_one(uint16_t port) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// In a copy of the checkout, because only one can run in each.
class RunScript : public testing::Test {
 protected:
  RunScript() {
    std::filesystem::permissions(dir_.path(),
                                 std::filesystem::perms(0755));  // root's nginx reads it as www-data
    for (const char* part : {"deploy", "nginx"})
      std::filesystem::copy(part, dir_.file(part), std::filesystem::copy_options::recursive);
  }
  Command command(std::vector<std::string> environment) const {
    environment.push_back("PORT=" + std::to_string(port_));
    const auto build = std::filesystem::path(sibling_program("bailian-fcgi")).parent_path();
    return {.argv = {dir_.file("deploy/run.sh"), build},
            .env = std::move(environment),
            .directory = dir_.path(),
            .fds = {}};
  }
  // Its output until it is ready.
  static std::string start(const Process& script) {
    const auto is_last = [](auto line) { return line.starts_with("  try "); };
    EXPECT_TRUE(script.out().await_line(is_last)) << script.out().text() << script.err().text();
    return script.out().text() + script.err().text();
  }
  static void stop(Process& script) {
    script.signal(SIGTERM);
    EXPECT_EQ(script.wait(), 0) << script.err().text();
  }

  WorkDir dir_;
  const uint16_t port_ = unused_port();
  const std::string address_ = "127.0.0.1:" + std::to_string(port_);
};

TEST_F(RunScript, WithARealKeyListensOnThisMachineOnly) {
  dir_.write(".env", "DASHSCOPE_API_KEY=sk-0123456789abcdef\nAPP_ID=shop\n");
  Process script(command({}));
  const auto told = start(script);
  EXPECT_TRUE(contains(told, "\n  listens    " + address_ + " (this machine only, as answers are billed;"))
      << told;
  EXPECT_TRUE(contains(told, "\n  model      real: app shop, its answers are billed\n")) << told;
  EXPECT_FALSE(is_open_beyond_loopback_one(port_));
  stop(script);
}

TEST_F(RunScript, WithSeveralTargetsIsRealIfOneOfThemIsComplete) {
  dir_.write(".env", "APP_ID_2=second\nDASHSCOPE_API_KEY_3=sk-0123456789abcdef\nAPP_ID_3=third\n");
  Process script(command({}));
  const auto told = start(script);
  EXPECT_TRUE(contains(told, "\n  listens    " + address_ + " (this machine only,")) << told;
  EXPECT_TRUE(contains(told, "\n  model      real: app third, its answers are billed\n")) << told;
  stop(script);
}

TEST_F(RunScript, WithSeveralTargetsButNoKeySimulates) {
  dir_.write(".env", "APP_ID=first\nAPP_ID_2=second\n");
  Process script(command({}));
  const auto told = start(script);
  EXPECT_TRUE(
      contains(told, "\n  model      SIMULATED: the environment and .env do not set DASHSCOPE_API_KEY\n"))
      << told;
  stop(script);
}

TEST_F(RunScript, WithARealKeyListensWhereHostSays) {
  dir_.write(".env", "DASHSCOPE_API_KEY=sk-0123456789abcdef\nAPP_ID=shop\nHOST=0.0.0.0\n");
  Process script(command({}));
  const auto told = start(script);
  EXPECT_TRUE(contains(told, "\n  listens    0.0.0.0:" + std::to_string(port_) + "\n")) << told;
  EXPECT_TRUE(is_open_beyond_loopback_one(port_));
  stop(script);
}

TEST_F(RunScript, TakesPlaceholdersAndAnotherProgramsKeyForNone) {
  dir_.write(".env", "DASHSCOPE_API_KEY=your_dashscope_api_key\nAPP_ID=YOUR_APP_ID\n");
  Process script(command({"API_KEY=sk-somebody-else"}));
  const auto told = start(script);
  EXPECT_TRUE(contains(told, "\n  model      SIMULATED: ")) << told;
  EXPECT_TRUE(contains(told, "\n  listens    0.0.0.0:")) << told;
  EXPECT_TRUE(contains(told, "warning: .env:1: DASHSCOPE_API_KEY: a placeholder")) << told;
  EXPECT_TRUE(contains(told, "warning: environment: API_KEY is not used")) << told;
  EXPECT_TRUE(is_open_beyond_loopback_one(port_));
  stop(script);
}

}  // namespace
}  // namespace bailian::e2e
