// Trouble for a running program: no descriptors, no memory, a full disk, a clock that jumps, thousands
// of signals, an nginx that is reloaded and restarted.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

void expect_served(const Site& site) {
  EXPECT_EQ(site.get(kHealthPath).status, 200);
  EXPECT_EQ(read_stream(site.stream("[[sim events=3]]")).text, tokens(3));
  EXPECT_EQ(text_at(site.ask("[[sim events=3]]").json(), "/result"), tokens(3));
}

// Runs a site's responder under the shell's ulimit.
std::vector<std::string> limited(const std::string& limits) {
  return {"/bin/sh", "-c", limits + R"( && exec "$0" "$@")"};
}

// While it exists, a running process can open no descriptor.
class NoFilesLeft {
 public:
  explicit NoFilesLeft(const Process& process) : pid_(process.pid()) {
    EXPECT_EQ(prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_), 0);
    const rlimit none = {3, before_.rlim_max};
    EXPECT_EQ(prlimit(pid_, RLIMIT_NOFILE, &none, nullptr), 0);
  }
  ~NoFilesLeft() { prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr); }
  NoFilesLeft(const NoFilesLeft&) = delete;
  NoFilesLeft& operator=(const NoFilesLeft&) = delete;

 private:
  pid_t pid_;
  rlimit before_{};
};

TEST(Descriptors, WithoutAnyForTheUpstreamAChatGetsItsError) {
  Site site({.settings = {{"UPSTREAM_RETRIES", "0"}}});
  FcgiPeer peer(site.fastcgi());
  peer.send(fcgi::request("GET", kHealthPath, "", true));
  EXPECT_EQ(peer.read_reply().response.status, 200);
  {
    const NoFilesLeft none(site.responder().process());
    for (const char* path : {kChatPath, kStreamPath}) {
      peer.send(fcgi::request("POST", path, chat_body("[[sim events=3]]"), true));
      expect_error(peer.read_reply().response, 502, "upstream_error", "Connection failed");
    }
  }
  expect_served(site);
}

TEST(Descriptors, WithoutAnyForAVisitorHeWaits) {
  Site site;
  auto exchange = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  std::optional<FcgiPeer> peer;
  {
    const NoFilesLeft none(site.responder().process());
    peer.emplace(site.fastcgi());
    peer->send(fcgi::request("GET", kHealthPath));
    EXPECT_TRUE(site.responder().logs("accept_failed"));
  }
  EXPECT_EQ(peer->read_reply().response.status, 200);
  site.simulator().release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
}

TEST(Descriptors, AreAllGivenBack) {
  Site site;
  expect_served(site);
  const auto& responder = site.responder().process();
  const auto before = responder.open_files();
  for (int round = 0; round < 5; ++round) {
    std::vector<Exchange> exchanges;
    exchanges.reserve(50);
    for (int i = 0; i < 50; ++i) exchanges.push_back(site.stream("[[sim events=9 hold=1]]"));
    for (auto& exchange : exchanges) read_text(exchange);
    exchanges.clear();
    EXPECT_TRUE(site.simulator().falls_to("open", 0));
    EXPECT_TRUE(responder.falls_to_open_files(before));
  }
}

TEST(Memory, WithoutAnyVisitorsAreTurnedAwayAndTheNextAreServed) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer needs all address space there is";
  // Libraries and stacks take about 40 MiB; the rest is less than the peers send.
  Site site({.settings = {{"MAX_BODY_BYTES", "10000000"}}, .run_by = limited("ulimit -v 160000")});
  expect_served(site);
  const auto whole = fcgi::request("POST", kChatPath, std::string(5'000'000, ' '));
  for (int round = 0; round < 3; ++round) {
    std::vector<FcgiPeer> peers;
    peers.reserve(60);
    int dropped = 0;
    for (int i = 0; i < 60; ++i) {
      peers.emplace_back(site.fastcgi());
      try {
        peers.back().send(std::string_view(whole).substr(0, 4'900'000));
      } catch (const std::system_error&) {
        ++dropped;
      }
    }
    EXPECT_GT(dropped, 0);
    peers.clear();
    EXPECT_TRUE(site.responder().process().falls_to_open_files(30));
    expect_served(site);
  }
}

// A responder whose stderr goes elsewhere, so that the test cannot wait for log lines.
class BadLog : public testing::Test {
 protected:
  void start(const Fd& log) {
    auto command = responder_command(dir_, site_settings(dir_, simulator_));
    command.fds.emplace_back(log.get(), 2);
    process_.emplace(command);
    const Deadline deadline;
    while (!is_healthy())
      if (deadline.left_ms() == 0) throw std::runtime_error("the responder does not start");
  }
  bool is_healthy() const {
    try {
      FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
      peer.send(fcgi::request("GET", kHealthPath));
      return peer.read_reply().response.status == 200;
    } catch (const std::exception&) {
      return false;
    }
  }
  double lost_writes() const {
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::request("GET", "/metrics"));
    const auto metrics = peer.read_reply().response.body;
    const std::string name = "\nbailian_log_writes_lost_total ";
    return std::stod(metrics.substr(metrics.find(name) + name.size()));
  }
  void await_lost_write() const {
    const Deadline deadline;
    while (lost_writes() == 0) {
      ASSERT_TRUE(is_healthy());
      ASSERT_NE(deadline.left_ms(), 0) << "lost, but not counted";
    }
  }
  void expect_served_and_ended() {
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(is_healthy());
    FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
    peer.send(fcgi::request("POST", kChatPath, chat_body("[[sim events=3]]")));
    EXPECT_EQ(text_at(peer.read_reply().response.json(), "/result"), tokens(3));
    process_->signal(SIGTERM);
    EXPECT_EQ(process_->wait(), 0);
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
  std::optional<Process> process_;
};

TEST_F(BadLog, OnAFullDiskHoldsNobodyUp) {
  start(Fd(open("/dev/full", O_WRONLY | O_CLOEXEC)));
  await_lost_write();
  expect_served_and_ended();
}

TEST_F(BadLog, InAPipeThatNobodyReadsHoldsNobodyUp) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer writes into the pipe at the end";
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  start(Fd(ends[1]));
  await_lost_write();
  expect_served_and_ended();
}

TEST_F(BadLog, InAPipeWithoutAReaderHoldsNobodyUp) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Fd reader(ends[0]);
  reader.close();
  start(Fd(ends[1]));
  await_lost_write();
  expect_served_and_ended();
}

TEST(ClockJumps, NeitherEndNorDelayAnything) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  Site site({.settings = {{"HEARTBEAT", "1"}},
             .run_by = {"env", "LD_PRELOAD=" + sibling_program("clock_jumps.so")}});
  EXPECT_EQ(read_stream(site.stream("[[sim events=200 interval=2]]")).text, tokens(200));
  auto held = site.stream("[[sim events=2 hold=0]]");
  EXPECT_EQ(held.read_event(), ": keep-alive");
  EXPECT_EQ(held.read_event(), ": keep-alive");
  site.simulator().release();
  EXPECT_EQ(read_stream(held).text, tokens(2));
  expect_served(site);
  const auto line = site.responder().request_line_for_path(kStreamPath);
  EXPECT_GT(at(line, "/duration_ms").GetDouble(), 0);
  EXPECT_LT(at(line, "/duration_ms").GetDouble(), Deadline::kPatience.count());
  std::set<std::string> years;
  for (const Deadline deadline; years.size() < 2;) {
    ASSERT_NE(deadline.left_ms(), 0) << "the clock has not jumped";
    expect_served(site);
    const std::string lines = site.responder().log();
    std::istringstream log(lines.substr(0, lines.rfind('\n') + 1));
    for (std::string text; std::getline(log, text);)
      years.insert(text_at(parse_json(text), "/time").substr(0, 4));
  }
}

TEST(Signals, AStormOfThoseThatMeanNothingIsSurvived) {
  Site site;
  auto exchange = site.stream("[[sim events=300 interval=2 delay=0]]");
  const auto& responder = site.responder().process();
  for (int i = 0; i < 3000; ++i)
    for (const int number : {SIGHUP, SIGPIPE, SIGUSR1, SIGWINCH, SIGCHLD, SIGURG}) responder.signal(number);
  EXPECT_EQ(read_stream(exchange).text, tokens(300));
  expect_served(site);
}

TEST(Signals, AStormOfThoseThatMeanTheEndEndsWell) {
  for (const int number : {SIGTERM, SIGINT}) {
    Site site;
    auto exchange = site.stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    auto& responder = site.responder().process();
    while (responder.is_running()) responder.signal(number);
    expect_failed(read_stream(exchange), "upstream_error");
    EXPECT_EQ(site.await_responder_end(), 0);
  }
}

// Visitors who chat one after another until stopped.
class Crowd {
 public:
  explicit Crowd(const Site& site) {
    for (int i = 0; i < 8; ++i)
      visitors_.emplace_back([this, &site] {
        while (!stop_) {
          try {
            const auto answer =
                site.browser().post(kStreamPath, chat_body("[[sim events=5 interval=2 delay=0]]"));
            (answer.status == 200 && answer.body.find("Stream completed") != std::string::npos ? served_
                                                                                               : failed_)++;
          } catch (const std::exception&) {
            ++failed_;
          }
        }
      });
  }
  int end() {
    stop_ = true;
    visitors_.clear();
    return failed_;
  }
  void await_served(int more) const {
    const Deadline deadline;
    for (const int goal = served_ + more; served_ < goal; std::this_thread::yield())
      if (deadline.left_ms() == 0) throw std::runtime_error("nobody is served");
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> served_{0};
  std::atomic<int> failed_{0};
  std::vector<std::jthread> visitors_;
};

TEST(NginxUnderLoad, ReloadsLoseNobody) {
  Site site;
  auto held = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(held), "tok1 ");
  Crowd crowd(site);
  for (int i = 0; i < 5; ++i) {
    crowd.await_served(20);
    site.nginx().process().signal(SIGHUP);
  }
  crowd.await_served(100);
  EXPECT_EQ(crowd.end(), 0);
  site.simulator().release();
  EXPECT_EQ(read_stream(held).text, "tok2 tok3 ");
}

TEST(NginxUnderLoad, RestartsLeaveNothingBehind) {
  Site site;
  expect_served(site);
  const auto& responder = site.responder().process();
  const auto files = responder.open_files();
  for (int i = 0; i < 3; ++i) {
    const auto address = site.dir().socket("another" + std::to_string(i));
    Nginx another(site.dir(), "another",
                  stock_server("unix:" + address, "unix:" + site.dir().socket("fcgi")));
    const Browser browser({.unix_path = address});
    std::vector<Exchange> exchanges;
    exchanges.reserve(30);
    for (int k = 0; k < 30; ++k)
      exchanges.push_back(browser.send(
          {.method = "POST", .path = kStreamPath, .body = chat_body("[[sim events=5 hold=1]]")}));
    for (auto& exchange : exchanges) EXPECT_EQ(read_text(exchange), "tok1 ");
    another.stop();
    EXPECT_TRUE(site.simulator().falls_to("open", 0));
  }
  EXPECT_EQ(site.simulator().count("cut"), 90);
  EXPECT_TRUE(responder.falls_to_open_files(files));
  expect_served(site);
}

}  // namespace
}  // namespace bailian::e2e
