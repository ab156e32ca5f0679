// A responder that starts: it serves, or it says why not and ends with an exit code of its own.

#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <functional>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "torture.h"

namespace bailian::torture {
namespace {

class TortureStart : public testing::Test {
 protected:
  Command command(const std::vector<std::string>& arguments) {
    auto settings = site_settings(dir_, simulator_);
    settings.merge(
        Settings{{"WORKERS", "3"}, {"TIMEOUT", "3"}, {"CONNECT_TIMEOUT", "1"}, {"FIRST_TOKEN_TIMEOUT", "1"}});
    auto made = responder_command(dir_, settings, arguments);
    plan_.preload(made);
    return made;
  }

  // With each call failing: exit codes are of those named, and one that is not 0 comes with a reason.
  void survive(const std::function<int(const Command&, std::string&)>& run,
               const std::vector<std::string>& arguments, const std::set<int>& codes) {
    uint64_t runs = 0;
    std::set<int> seen;
    for (const Failure& failure : failures_at_start()) {
      for (uint64_t n = 1;; n = next_n(n)) {
        SCOPED_TRACE(std::string(failure.what) + ", call " + std::to_string(n));
        plan_.arm(failure, n, true);
        std::string said;
        int code = -1;
        ASSERT_NO_THROW(code = run(command(arguments), said));
        ASSERT_TRUE(codes.contains(code)) << code << ": " << said;
        EXPECT_FALSE(has_sanitizer_report(said)) << said;
        EXPECT_EQ(said.find(kApiKey), said.npos) << said;
        EXPECT_TRUE(code == 0 || !said.empty()) << "exit code " << code << " without a word";
        if (HasFailure()) return;
        seen.insert(code);
        if (plan_->failed == 0) break;
        ++runs;
      }
    }
    EXPECT_TRUE(seen.contains(*codes.begin()));
    std::cerr << testing::UnitTest::GetInstance()->current_test_info()->name() << ": " << runs
              << " failures survived\n";
  }

  // Nothing when the process ends before it listens.
  std::optional<FcgiPeer> connect(Process& process) {
    const Deadline deadline;
    while (process.is_running()) {
      try {
        return FcgiPeer({.unix_path = dir_.socket("fcgi")});
      } catch (const std::system_error&) {
        if (deadline.left_ms() == 0) throw;
        constexpr int kLookAgainMs = 2;
        ::poll(nullptr, 0, kLookAgainMs);
      }
    }
    return std::nullopt;
  }

  bool is_served(Process& process) {
    auto peer = connect(process);
    if (!peer) return false;
    try {
      peer->send(fcgi::request("GET", kHealthPath));
      return peer->read_reply().response.status == 200;
    } catch (const WaitedInVain&) {
      throw;
    } catch (const std::exception&) {
      return false;
    }
  }

  void survive_run(const std::vector<std::string>& arguments, const std::set<int>& codes) {
    survive(
        [](const Command& command, std::string& said) {
          const auto finished = e2e::run(command);
          said = finished.out + finished.err;
          return finished.exit_code;
        },
        arguments, codes);
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  SharedPlan plan_{dir_.write("plan", std::string(sizeof(Plan), '\0'))};
};

TEST_F(TortureStart, Serving) {
  survive(
      [&](const Command& command, std::string& said) {
        Process process(command);
        // The first visitor comes as early as can be, and may be let down by what fails; the second is not,
        // unless the process gives up.
        is_served(process);
        plan_.disarm();
        const bool serves = is_served(process);
        if (serves) process.signal(SIGTERM);
        const int code = process.wait();
        EXPECT_EQ(code == 0, serves) << code;
        said = process.err().text();
        return code;
      },
      {}, {0, 69, 71, 78});
}

TEST_F(TortureStart, Check) { survive_run({"--check"}, {0, 71, 78}); }
TEST_F(TortureStart, Ping) { survive_run({"--ping"}, {0, 69, 71, 75, 78}); }
TEST_F(TortureStart, Version) { survive_run({"--version"}, {0, 71}); }
TEST_F(TortureStart, BadUsage) { survive_run({"--nonsense"}, {64, 71}); }

}  // namespace
}  // namespace bailian::torture
