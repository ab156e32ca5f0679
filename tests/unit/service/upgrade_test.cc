#include "service/upgrade.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "settings/config.h"

namespace bailian {
namespace {

// Not a test: the successor in the tests below. Sends READY=1, reports in the pipe whether that worked, and
// waits to be killed.
TEST(DISABLED_UpgradeSuccessor, SaysReady) {
  const char* const pipe = std::getenv("UPGRADE_TEST_PIPE");
  if (pipe == nullptr) GTEST_SKIP() << "only started by the tests of Upgrade";
  const int told = sd_notify(0, "READY=1");
  const char byte = told > 0 ? '1' : '0';
  UniqueFd fifo(::open(pipe, O_WRONLY | O_CLOEXEC));
  if (::write(fifo.get(), &byte, 1) != 1) std::abort();
  for (;;) ::pause();
}

class UpgradeTest : public testing::Test {
 public:
  void on_ready() { ++ready_; }

 protected:
  UpgradeTest() {
    ::mkfifo(pipe_.c_str(), 0600);
    fifo_ = UniqueFd(::open(pipe_.c_str(), O_RDWR | O_CLOEXEC));
    ::setenv("UPGRADE_TEST_PIPE", pipe_.c_str(), 1);
  }
  ~UpgradeTest() override {
    ::unsetenv("UPGRADE_TEST_PIPE");
    std::filesystem::remove_all(directory_);
  }

  std::vector<std::string> argv() const {
    return {std::filesystem::read_symlink("/proc/self/exe"), "--gtest_also_run_disabled_tests",
            "--gtest_filter=DISABLED_UpgradeSuccessor.*", "--gtest_brief=1"};
  }
  // Meanwhile the loop does not run.
  void await_that_ready_was_said() const {
    char byte = 0;
    ASSERT_EQ(::read(fifo_.get(), &byte, 1), 1);
    ASSERT_EQ(byte, '1');
  }
  static std::string make_directory() {
    std::string path = testing::TempDir() + "upgrade.XXXXXX";
    return ::mkdtemp(path.data());
  }

  const std::string directory_ = make_directory();
  const std::string pipe_ = directory_ + "/pipe";
  UniqueFd fifo_;
  EventLoop loop_{std::chrono::nanoseconds(0)};
  ListenSocket socket_ = ListenSocket::open(UnixAddress{directory_ + "/socket"}, 0600);
  int ready_ = 0;
};

TEST_F(UpgradeTest, ASuccessorThatHasSaidReadyIsNotKilled) {
  for (const bool is_cancelled : {true, false}) {
    ready_ = 0;
    {
      Upgrade upgrade(loop_, argv(), bind<&UpgradeTest::on_ready>(this));
      upgrade.start(socket_);
      await_that_ready_was_said();
      if (is_cancelled) upgrade.cancel();
      EXPECT_EQ(ready_, is_cancelled ? 1 : 0);
    }
    siginfo_t ended{};
    EXPECT_EQ(::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT), 0) << "it was killed and reaped";
    EXPECT_EQ(ended.si_pid, 0);
    std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    for (pid_t child = 0; children >> child;) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
}

}  // namespace
}  // namespace bailian
