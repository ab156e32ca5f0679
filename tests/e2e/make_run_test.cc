// What `make run` starts, in a copy of the checkout.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

namespace fs = std::filesystem;

// From /proc/PID/status.
struct Privileges {
  uid_t uid;
  std::string capabilities;  // the effective ones, in hexadecimal
};

Privileges privileges_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/status");
  Privileges found{};
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "Uid:") words >> found.uid;
    if (name == "CapEff:") words >> found.capabilities;
  }
  return found;
}

// Empty when the process is gone.
std::string of_process(const std::string& path) {
  std::ifstream file("/proc/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// All descendants of a process, by title, such as `nginx: worker process`.
void add_children(const std::string& pid, std::map<std::string, Privileges>& found) {
  std::istringstream children(of_process(pid + "/task/" + pid + "/children"));
  for (std::string child; children >> child;) {
    auto title = of_process(child + "/cmdline");
    title = title.substr(0, title.find('\0'));
    if (title.starts_with('/')) title = fs::path(title).filename();
    if (title.starts_with("nginx: master")) title = "nginx: master";
    found[title] = privileges_of(child);
    add_children(child, found);
  }
}

class MakeRun : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* part : {"deploy", "nginx"})
      fs::copy(part, fs::path(dir_.path()) / part, fs::copy_options::recursive);
    ASSERT_EQ(chmod(dir_.path().c_str(), 0755), 0);
  }
  void TearDown() override {
    if (!script_) return;
    script_->signal(SIGTERM);
    EXPECT_EQ(script_->wait(), 0) << script_->err().text();
  }
  Command command() const {
    return {.argv = {dir_.file("deploy/run.sh"), fs::path(sibling_program("simulator")).parent_path()},
            .env = {"HOST=127.0.0.1", "PORT=" + std::to_string(port_)},
            .directory = dir_.path(),
            .fds = {},
            .signal_when_we_die = SIGTERM};
  }
  void start() {
    script_.emplace(command());
    const auto said = script_->out().await_line([](auto line) { return line.starts_with("  try "); });
    ASSERT_TRUE(said) << script_->err().text();
  }
  std::map<std::string, Privileges> processes() const {
    std::map<std::string, Privileges> found;
    add_children(std::to_string(script_->pid()), found);
    return found;
  }
  Browser browser() const { return Browser({.unix_path = {}, .port = port_}); }

  WorkDir dir_;
  const uint16_t port_ = unused_port();
  std::optional<Process> script_;
};

constexpr const char* kNone = "0000000000000000";

TEST_F(MakeRun, ByRootGivesNobodyRootsPrivilegesButNginxsFirstProcess) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  dir_.write(".env", "TEMPERATURE=0.5\n");
  ASSERT_EQ(chmod(dir_.file(".env").c_str(), 0600), 0);
  start();
  auto found = processes();
  for (const char* name : {"nginx: worker process", "simulator"}) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_NE(found[name].uid, 0U) << name;
    EXPECT_EQ(found[name].capabilities, kNone) << name;
  }
  ASSERT_TRUE(found.contains("bailian-fcgi"));
  EXPECT_EQ(found["bailian-fcgi"].capabilities, kNone);
  auto exchange = browser().send({.method = "POST", .path = kStreamPath, .body = chat_body("hello")});
  EXPECT_FALSE(read_stream(exchange, Chunks::kMayCutEvents).text.empty());
  EXPECT_EQ(browser().get("/").status, 200);
}

TEST_F(MakeRun, ByRootRunsAsTheOwnerOfTheCheckout) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr uid_t kOwner = 54'321;
  ASSERT_EQ(chown(dir_.path().c_str(), kOwner, kOwner), 0);
  start();
  auto found = processes();
  for (const char* name : {"nginx: master", "nginx: worker process", "bailian-fcgi", "simulator"}) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_EQ(found[name].uid, kOwner) << name;
  }
  EXPECT_EQ(browser().get(kHealthPath).status, 200);
}

TEST_F(MakeRun, ByRootSaysWhenNginxMayNotReadTheCheckout) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(chmod(dir_.file("nginx").c_str(), 0700), 0);
  const auto finished = run(command());
  EXPECT_EQ(finished.exit_code, 77);
  EXPECT_NE(finished.err.find("chmod -R go+rX"), std::string::npos) << finished.err;
}

TEST_F(MakeRun, CountsTheTokensInALedgerOfItsOwn) {
  dir_.write(".env", "CAP_DAY_TOKENS=100000\n");
  ASSERT_EQ(chmod(dir_.file(".env").c_str(), 0600), 0);
  start();
  auto exchange = browser().send({.method = "POST", .path = kStreamPath, .body = chat_body("hello")});
  EXPECT_FALSE(read_stream(exchange, Chunks::kMayCutEvents).text.empty());
  const auto usage = run({.argv = {sibling_program("bailian-fcgi"), "usage", "--json"},
                          .env = {"LEDGER=" + dir_.file("build/run/ledger")},
                          .directory = dir_.path(),
                          .fds = {}});
  EXPECT_EQ(usage.exit_code, 0) << usage.err;
  EXPECT_NE(usage.out.find(R"("answers":1,)"), std::string::npos) << usage.out;
}

TEST_F(MakeRun, LimitsEachVisitor) {
  start();
  int refused = 0;
  for (int i = 0; i < 50; ++i)
    if (browser().post(kChatPath, "{}").status == 429) ++refused;
  EXPECT_GT(refused, 0);
}

TEST_F(MakeRun, ShowsTheOperatorsPagesToThisMachineOnly) {
  start();
  auto get = [this](const char* host) {
    return browser().fetch({.path = "/metrics", .headers = {{"Host", host}}}).status;
  };
  EXPECT_EQ(get("localhost"), 200);
  EXPECT_EQ(get("evil.example"), 403);
}

}  // namespace
}  // namespace bailian::e2e
