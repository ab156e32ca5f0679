// Restarts and reloads under a thousand open streams: not one answer is lost.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <string>

#include "harness/answer.h"
#include "harness/nginx.h"
#include "harness/passed_socket.h"
#include "harness/stranger.h"
#include "load.h"

namespace bailian::e2e {
namespace {

constexpr size_t kStreams = 1000;
constexpr size_t kAnswersBetween = 30;
constexpr int kReloads = 20;

int restarts() {
  const char* const wanted = std::getenv("RESTARTS");
  return wanted != nullptr ? std::stoi(wanted) : 100;
}

class Restart : public testing::Test {
 public:
  // Each stream takes one descriptor here and two in nginx.
  static void SetUpTestSuite() {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }

 protected:
  void TearDown() override {
    nginx_.stop();
    if (HasFailure()) dir_.keep();
  }

  Settings settings() const { return site_settings(dir_, simulator_); }

  // Calls `disturb` repeatedly, with answers in between, and prints the totals.
  void expect_nothing_lost(const std::string& what, int times, const std::function<void(int)>& disturb) {
    Load load(port_, kStreams);
    load.await_streams();
    for (int i = 1; i <= times; ++i) {
      disturb(i);
      load.await_answers(kAnswersBetween);
    }
    const auto totals = load.finish();
    std::cout << times << " " << what << " under " << kStreams << " streams: " << totals.streams
              << " streams, " << totals.chats << " answers as JSON, " << totals.healths
              << " health checks; refused " << totals.refused << ", cut " << totals.cut << ", wrong "
              << totals.wrong << std::endl;
    EXPECT_GE(totals.streams, kStreams);
    EXPECT_GT(totals.chats, 0U);
    EXPECT_GT(totals.healths, 0U);
    EXPECT_EQ(totals.refused, 0U) << totals.first_fault;
    EXPECT_EQ(totals.cut, 0U) << totals.first_fault;
    EXPECT_EQ(totals.wrong, 0U) << totals.first_fault;
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  LoopbackListener web_ = listen_on_loopback(4096);
  const uint16_t port_ = web_.port;
  Nginx nginx_{
      dir_, "nginx",
      stock_server("127.0.0.1:" + std::to_string(port_) + " backlog=4096", "unix:" + dir_.socket("fcgi")),
      web_.fd};
};

// The test holds the listening socket and starts the next program as soon as the main process is gone, as
// systemd does.
TEST_F(Restart, BySystemdLosesNothing) {
  const auto listener = listen_on_unix(dir_.socket("fcgi"), 4096);
  auto own = settings();
  own.erase("FCGI_LISTEN");
  auto command = responder_command(dir_, own, {"--supervise"});
  command.fds.emplace_back(listener.get(), 3);
  command.announces_listen_fds = true;

  std::deque<Responder> all;
  all.emplace_back(command);
  expect_nothing_lost("supervised restarts", restarts(), [&](int) {
    auto& running = all.back().process();
    running.signal(SIGRTMIN);  // the unit's RestartKillSignal=
    EXPECT_EQ(running.wait_alone(), 0);
    all.emplace_back(command);
  });
  all.back().process().signal(SIGTERM);
  for (auto& responder : all) {
    EXPECT_EQ(responder.process().wait(), 0);
    EXPECT_TRUE(responder.logs("\"stopped\"")) << responder.log();
  }
}

TEST_F(Restart, BySignalLosesNothing) {
  Responder first(responder_command(dir_, settings()));
  std::deque<Stranger> all;
  all.emplace_back(first.process().pid());
  expect_nothing_lost("upgrades by SIGUSR2", restarts(), [&](int number) {
    all.back().signal(SIGUSR2);
    all.emplace_back(static_cast<pid_t>(number_at(first.event("upgraded", number), "/pid")));
  });
  all.back().signal(SIGTERM);
  for (const auto& process : all) process.await_end();
  EXPECT_EQ(first.process().wait(), 0);
}

TEST_F(Restart, OfNginxByReloadLosesNothing) {
  Responder responder(responder_command(dir_, settings()));
  expect_nothing_lost("nginx reloads", kReloads, [&](int number) {
    nginx_.process().signal(SIGHUP);
    int seen = 0;
    ASSERT_TRUE(nginx_.process().err().await_line([&](std::string_view line) {
      return line.find("start worker process ") != line.npos && ++seen == number + 1;
    }));
  });
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
}

}  // namespace
}  // namespace bailian::e2e
