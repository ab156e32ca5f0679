#include "ledger/alerts.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "unit/ledger/fake_ledger.h"

namespace bailian {
namespace {

using namespace std::chrono_literals;

LedgerReport report_of(CapState cap, const std::string& bot = "shop") {
  LedgerReport report;
  cap.scope = bot.empty() ? "total" : cap.scope.empty() ? "bot" : cap.scope;
  cap.period = "day";
  report.bots.resize(1);
  report.bots.front().bot = bot;
  report.bots.front().caps = {cap};
  return report;
}

CapState cap(uint64_t limit, uint64_t used) {
  CapState state;
  state.limit = limit;
  state.used = used;
  return state;
}

std::vector<int> percents(const LedgerReport& report) {
  std::vector<int> percents;
  for (const CapAlert& alert : due_alerts(report)) percents.push_back(alert.percent);
  return percents;
}

TEST(DueAlerts, AreThoseAt80AndAt100Percent) {
  EXPECT_EQ(percents(report_of(cap(1000, 799))), (std::vector<int>{}));
  EXPECT_EQ(percents(report_of(cap(1000, 800))), (std::vector<int>{80}));
  EXPECT_EQ(percents(report_of(cap(1000, 999))), (std::vector<int>{80}));
  EXPECT_EQ(percents(report_of(cap(1000, 1000))), (std::vector<int>{80, 100}));
  EXPECT_EQ(percents(report_of(cap(UINT64_MAX, UINT64_MAX / 2))), (std::vector<int>{}));
  EXPECT_EQ(percents(report_of(cap(UINT64_MAX, UINT64_MAX))), (std::vector<int>{80, 100}));
}

TEST(DueAlerts, TakeTheFirstRefusalForAllOfIt) {
  CapState state = cap(1000, 900);
  state.has_refused = true;
  EXPECT_EQ(percents(report_of(state)), (std::vector<int>{80, 100}));
}

TEST(DueAlerts, AreNotRepeated) {
  CapState state = cap(1000, 1000);
  state.alerted_percent = 80;
  EXPECT_EQ(percents(report_of(state)), (std::vector<int>{100}));
  state.alerted_percent = 100;
  EXPECT_EQ(percents(report_of(state)), (std::vector<int>{}));
}

TEST(DueAlerts, AreNotForAClosedBotNorForAVisitorNorWithoutACap) {
  EXPECT_EQ(percents(report_of(cap(0, 0))), (std::vector<int>{}));
  CapState state = cap(10, 10);
  state.scope = "visitor";
  state.has_refused = true;
  EXPECT_EQ(percents(report_of(state)), (std::vector<int>{}));
  state = cap(10, 10);
  state.limit.reset();
  EXPECT_EQ(percents(report_of(state)), (std::vector<int>{}));
}

// A folder in which a command leaves what it was given.
class AlertCommand : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/alert-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::system(("rm -r " + folder_).c_str()); }

  // A script, by its path.
  std::string script(const std::string& text) const {
    const std::string path = folder_ + "/command";
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    chmod(path.c_str(), 0700);
    return path;
  }
  std::string file(const std::string& name) const {
    std::ifstream stream(folder_ + "/" + name);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  // A file appears complete, as it is renamed.
  std::string await_file(const std::string& name) const {
    await([&] { return access((folder_ + "/" + name).c_str(), F_OK) == 0; });
    return file(name);
  }
  static void await(const std::function<bool()>& happens) {
    for (const auto until = Clock::now() + 20s; !happens() && Clock::now() < until;)
      std::this_thread::sleep_for(1ms);
  }
  // Until the alerts have looked at the ledger once more, from the beginning to the end.
  static void await_look(const FakeLedger& ledger) {
    const int before = ledger.faults_asked();
    await([&] { return ledger.faults_asked() >= before + 2; });
    EXPECT_GE(ledger.faults_asked(), before + 2);
  }
  // Until none runs.
  static void await_end(AlertCommands& commands, Clock::time_point now = Clock::now()) {
    await([&] {
      commands.look(now);
      return commands.running() == 0;
    });
    EXPECT_EQ(commands.running(), 0U);
  }

  std::string folder_;
};

TEST_F(AlertCommand, GetsItsWordsItsVariablesAndNoSecret) {
  setenv("DASHSCOPE_API_KEY_2", "sk-secret", 1);
  AlertCommands commands;
  commands.start(script("echo \"$#|$1|$2\" > " + folder_ + "/words; env > " + folder_ + "/env"),
                 {"BAILIAN_CAP_BOT=shop"}, Clock::now());
  await_end(commands);
  EXPECT_EQ(file("words"), "0||\n");
  EXPECT_NE(file("env").find("BAILIAN_CAP_BOT=shop\n"), std::string::npos);
  EXPECT_NE(file("env").find("PATH="), std::string::npos);
  EXPECT_EQ(file("env").find("sk-secret"), std::string::npos);
  commands.start(folder_ + "/command  a $(id) ", {}, Clock::now());
  await_end(commands);
  EXPECT_EQ(file("words"), "2|a|$(id)\n");
  unsetenv("DASHSCOPE_API_KEY_2");
}

TEST_F(AlertCommand, HasNoDescriptorOfTheService) {
  constexpr int kPassed = 200;
  ASSERT_EQ(dup2(STDOUT_FILENO, kPassed), kPassed);  // not close-on-exec
  AlertCommands commands;
  commands.start(
      script("[ ! -e /proc/$$/fd/200 ] && x=$(readlink /proc/$$/fd/1); echo $x > " + folder_ + "/output"), {},
      Clock::now());
  await_end(commands);
  EXPECT_EQ(file("output"), "/dev/null\n");
  close(kPassed);
}

TEST_F(AlertCommand, DoesNotInheritBlockedOrIgnoredSignals) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  std::signal(SIGPIPE, SIG_IGN);
  AlertCommands commands;
  commands.start(script("grep -E 'SigBlk|SigIgn' /proc/self/status > " + folder_ + "/signals"), {},
                 Clock::now());
  await_end(commands);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  // The C library ignores two signals of its own, above 31.
  EXPECT_TRUE(std::regex_match(file("signals"), std::regex("SigBlk:\\t0{16}\nSigIgn:\\t0*([01][08]0{7})?\n")))
      << file("signals");
}

TEST_F(AlertCommand, IsKilledWithItsChildrenAfter10Seconds) {
  const auto start = Clock::now();
  AlertCommands commands;
  commands.start(
      script("sleep 1000 & echo $! > " + folder_ + "/p; mv " + folder_ + "/p " + folder_ + "/pid; wait"), {},
      start);
  const pid_t child = std::stoi(await_file("pid"));
  commands.look(start + 9s);
  EXPECT_EQ(commands.running(), 1U);
  EXPECT_EQ(kill(child, 0), 0);
  await_end(commands, start + 10s);
  await([&] { return kill(child, 0) != 0; });
  EXPECT_NE(kill(child, 0), 0);
}

TEST_F(AlertCommand, IsKilledWithTheService) {
  pid_t child = 0;
  {
    AlertCommands commands;
    commands.start("sleep 1000", {}, Clock::now());
    commands.start(
        script("echo $$ > " + folder_ + "/p; mv " + folder_ + "/p " + folder_ + "/pid; sleep 1000"), {},
        Clock::now());
    EXPECT_EQ(commands.running(), 2U);
    child = std::stoi(await_file("pid"));
  }
  EXPECT_NE(kill(child, 0), 0);
}

TEST_F(AlertCommand, ThatCannotRunHarmsNothing) {
  AlertCommands commands;
  commands.start("/nonexistent/command", {}, Clock::now());
  commands.start("  ", {}, Clock::now());
  EXPECT_EQ(commands.running(), 0U);
  commands.start("false", {}, Clock::now());
  await_end(commands);
}

// Another child of the process: the supervisor's, an upgrade's.
TEST_F(AlertCommand, TakesNoOtherChildsEnd) {
  const pid_t other = fork();
  if (other == 0) _exit(3);
  AlertCommands commands;
  commands.start("true", {}, Clock::now());
  await_end(commands);
  int status = 0;
  EXPECT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST_F(AlertCommand, IsRunOnceForEachAlert) {
  FakeLedger ledger;
  ledger.show(report_of(cap(1000, 1000)));
  Config config;
  config.cap_alert_command = script(
      "echo $BAILIAN_CAP_SCOPE $BAILIAN_CAP_BOT $BAILIAN_CAP_PERIOD $BAILIAN_CAP_PERCENT $BAILIAN_CAP_USED "
      "$BAILIAN_CAP_LIMIT >> " +
      folder_ + "/alerts");
  {
    Alerts alerts(ledger, config);
    await([&] { return file("alerts").size() == 53; });
    await_look(ledger);
    LedgerReport total = report_of(cap(10, 9), "");
    ledger.show(total);
    await([&] { return file("alerts").find("total") != std::string::npos; });
  }
  std::string text = file("alerts");
  const size_t last = text.rfind("total");
  ASSERT_NE(last, std::string::npos) << text;
  EXPECT_EQ(text.substr(last), "total day 80 9 10\n");
  EXPECT_TRUE(text.starts_with("bot shop day 80 1000 1000\nbot shop day 100 1000 1000\ntotal") ||
              text.starts_with("bot shop day 100 1000 1000\nbot shop day 80 1000 1000\ntotal"))
      << text;
  EXPECT_EQ(ledger.alerts(), (std::set<std::string>{"shop day 80", "shop day 100", " day 80"}));
}

TEST_F(AlertCommand, IsNotRunWhileTheLedgerHasAFault) {
  FakeLedger ledger;
  LedgerReport report = report_of(cap(1000, 1000));
  report.fault = "no";
  ledger.show(report);
  {
    const Alerts alerts(ledger, {});
    await_look(ledger);
  }
  EXPECT_TRUE(ledger.alerts().empty());
}

}  // namespace
}  // namespace bailian
