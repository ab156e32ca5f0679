// Start, sockets, draining, end.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

int status_of_health(const Address& responder) {
  FcgiPeer peer(responder);
  peer.send(fcgi::request("GET", kHealthPath));
  return peer.read_reply().response.status;
}

bool is_healthy(const Address& responder) {
  try {
    return status_of_health(responder) == 200;
  } catch (const std::exception&) {
    return false;
  }
}

// A signal takes effect some time after it was sent.
void await_draining(const Site& site) {
  const Deadline deadline;
  while (site.get(kReadyPath).status != 503)
    if (deadline.left_ms() == 0) throw std::runtime_error("the responder does not drain");
}

TEST(Drain, LiveAnswersFinishAndNewOnesAreTurnedAway) {
  for (int signal : {SIGTERM, SIGINT}) {
    Site site;
    auto streamed = site.stream("[[sim events=3 hold=1]]");
    auto whole = site.chat("[[sim events=3 hold=0]]");
    EXPECT_EQ(read_text(streamed), "tok1 ");
    EXPECT_TRUE(site.simulator().reaches("held", 2));

    site.responder().process().signal(signal);
    await_draining(site);
    EXPECT_EQ(text_at(site.get(kReadyPath).json(), "/status"), "draining");
    const auto health = site.get(kHealthPath);
    EXPECT_EQ(health.status, 200);
    EXPECT_EQ(text_at(health.json(), "/status"), "draining");
    const auto turned_away = site.stream("[[sim events=3]]").read_all();
    expect_error(turned_away, 503, "overloaded", "Server busy");
    EXPECT_EQ(turned_away.headers.count("Retry-After"), 1U);

    site.simulator().release();
    EXPECT_EQ(read_stream(streamed).text, "tok2 tok3 ");
    EXPECT_EQ(text_at(whole.read_all().json(), "/result"), tokens(3));
    EXPECT_EQ(site.await_responder_end(), 0);
  }
}

TEST(Drain, ASecondSignalEndsAtOnce) {
  Site site;
  auto exchange = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  site.responder().process().signal(SIGTERM);
  await_draining(site);
  site.responder().process().signal(SIGTERM);
  expect_failed(read_stream(exchange), "upstream_error");
  EXPECT_EQ(site.await_responder_end(), 0);
  EXPECT_EQ(site.simulator().count("completed"), 0);
  EXPECT_EQ(text_at(site.responder().request_line_for_path(kStreamPath), "/outcome"), "error");
}

TEST(Drain, ASecondQuitChangesNothing) {
  Site site;
  auto exchange = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  site.responder().process().signal(SIGQUIT);
  await_draining(site);
  site.responder().process().signal(SIGQUIT);
  EXPECT_EQ(site.get(kHealthPath).status, 200);  // the signal has arrived by now
  site.simulator().release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(site.await_responder_end(), 0);
}

TEST(Drain, HasItsTime) {
  Site site({.settings = {{"DRAIN_TIMEOUT", "1"}}});
  auto exchange = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  site.responder().process().signal(SIGTERM);
  expect_failed(read_stream(exchange), "upstream_error");
  EXPECT_EQ(site.await_responder_end(), 0);
}

TEST(Drain, CutsNoAnswerEarly) {
  Site site({.settings = {{"HEARTBEAT", "0.6"}}});
  auto exchange = site.stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  site.responder().process().signal(SIGTERM);
  await_draining(site);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(exchange.read_event(), ": keep-alive");
  site.simulator().release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(site.await_responder_end(), 0);
}

TEST(Drain, EndsAllWorkers) {
  Site site({.settings = {{"WORKERS", "2"}}});
  std::vector<Exchange> exchanges;
  exchanges.reserve(10);
  for (int i = 0; i < 10; ++i) exchanges.push_back(site.stream("[[sim events=2 hold=1]]"));
  EXPECT_TRUE(site.simulator().reaches("held", 10));
  site.responder().process().signal(SIGTERM);
  await_draining(site);
  site.simulator().release();
  for (auto& exchange : exchanges) EXPECT_EQ(read_stream(exchange).text, tokens(2));
  EXPECT_EQ(site.await_responder_end(), 0);
}

// A responder without nginx. It has a site's settings.
class Sockets : public testing::Test {
 protected:
  Responder start(Settings settings = {}) { return Responder(command(std::move(settings))); }
  Finished run_to_its_end() { return run(command({})); }

  Command command(Settings settings) {
    settings.merge(site_settings(dir_, simulator_));
    return responder_command(dir_, settings);
  }
  // Starts with a listening socket that another process opened, without LISTEN_FDS.
  Command command_with(const Fd& listener, int its_number) {
    auto settings = site_settings(dir_, simulator_);
    settings.erase("FCGI_LISTEN");
    auto inherits = responder_command(dir_, settings);
    inherits.fds.emplace_back(listener.get(), its_number);
    return inherits;
  }

  std::string path() const { return dir_.socket("fcgi"); }
  mode_t mode_of_socket() const {
    struct stat info {};
    EXPECT_EQ(stat(path().c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    return info.st_mode & 0777U;
  }

  WorkDir dir_;
  Simulator simulator_{dir_};
};

TEST_F(Sockets, TheLogNamesWhereItListens) {
  const auto responder = start();
  EXPECT_NE(text_at(responder.listening(), "/address").find(path()), std::string::npos);
}

TEST_F(Sockets, AreForOwnerAndGroupUnlessToldOtherwise) {
  {
    const auto responder = start();
    EXPECT_EQ(mode_of_socket(), 0660U);
  }
  const auto responder = start({{"FCGI_SOCKET_MODE", "0606"}});
  EXPECT_EQ(mode_of_socket(), 0606U);
}

TEST_F(Sockets, ALiveOneIsNotStolen) {
  const auto first = start();
  const auto second = run_to_its_end();
  EXPECT_EQ(second.exit_code, 69);
  EXPECT_NE(second.err.find(path()), std::string::npos) << second.err;
  EXPECT_EQ(status_of_health({.unix_path = path()}), 200);
}

TEST_F(Sockets, AStaleOneIsTakenOver) {
  listen_on_unix(path()).close();  // leaves the file behind
  const auto responder = start();
  EXPECT_EQ(status_of_health({.unix_path = path()}), 200);
}

TEST_F(Sockets, AFileInTheirPlaceIsLeftAlone) {
  std::ofstream(path()) << "precious";
  const auto finished = run_to_its_end();
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_NE(finished.err.find(path()), std::string::npos) << finished.err;
  EXPECT_EQ(read_file(path()), "precious");
}

TEST_F(Sockets, ADirectoryThatIsNotThereIsNamed) {
  const auto finished = run(command({{"FCGI_LISTEN", dir_.socket("nowhere/fcgi")}}));
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_NE(finished.err.find("nowhere"), std::string::npos) << finished.err;
}

TEST_F(Sockets, ADirectoryThatCannotBeWrittenIsNamed) {
  const char* nobodys = "/proc/self/bailian-fcgi.sock";
  const auto finished = run(command({{"FCGI_LISTEN", nobodys}}));
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_NE(finished.err.find(nobodys), std::string::npos) << finished.err;
}

TEST_F(Sockets, WhatTookTheirPlaceMeanwhileIsLeftAlone) {
  auto responder = start();
  unlink(path().c_str());
  std::ofstream(path()) << "precious";
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
  EXPECT_EQ(read_file(path()), "precious");
}

TEST_F(Sockets, MayBeTcp) {
  const auto port = unused_port();
  const auto responder = start({{"FCGI_LISTEN", "127.0.0.1:" + std::to_string(port)}});
  EXPECT_EQ(status_of_health({.unix_path = {}, .port = port}), 200);
}

TEST_F(Sockets, MayBeTcpOverIpv6) {
  std::string interfaces;
  std::getline(std::ifstream("/proc/net/if_inet6"), interfaces, '\0');
  if (interfaces.find(std::string(31, '0') + "1") == std::string::npos) GTEST_SKIP() << "no ::1 here";
  const auto address = "[::1]:" + std::to_string(unused_port());
  const auto responder = start({{"FCGI_LISTEN", address}});
  EXPECT_EQ(text_at(responder.listening(), "/address"), address);
}

TEST_F(Sockets, ATakenPortIsNamed) {
  const auto taken = listen_on_loopback();
  const auto address = "127.0.0.1:" + std::to_string(taken.port);
  const auto finished = run(command({{"FCGI_LISTEN", address}}));
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_NE(finished.err.find(address), std::string::npos) << finished.err;
}

TEST_F(Sockets, WarnsWhenAnotherAddressIsSetThanIsPassedOn) {
  const auto listener = listen_on_unix(path());
  for (const std::string& address : {dir_.socket("other"), path()}) {
    dir_.write(".env", "FCGI_LISTEN=" + address + "\n");
    auto inherits = command_with(listener, 3);
    inherits.announces_listen_fds = true;
    const Responder responder(inherits);
    const auto warning =
        "FCGI_LISTEN=" + address + " has no effect: the inherited socket " + path() + " is used";
    EXPECT_EQ(responder.log().find(warning) != std::string::npos, address != path()) << responder.log();
  }
}

TEST_F(Sockets, MayComeAsFileDescriptorZero) {
  const auto listener = listen_on_unix(path());
  const Responder responder(command_with(listener, 0));
  EXPECT_EQ(status_of_health({.unix_path = path()}), 200);
}

TEST_F(Sockets, MayComeFromSystemd) {
  const auto listener = listen_on_unix(path());
  auto inherits = command_with(listener, 3);
  inherits.announces_listen_fds = true;
  const Responder responder(inherits);
  EXPECT_EQ(status_of_health({.unix_path = path()}), 200);
}

TEST_F(Sockets, RunningOutOfFilesIsSurvived) {
  auto poor = command({{"MAX_STREAMS", "1"}});
  poor.argv = {"/bin/sh", "-c", "ulimit -n 100; exec \"$0\"", poor.argv.front()};
  const Responder responder(poor);
  {
    std::vector<FcgiPeer> peers;
    peers.reserve(400);
    for (int i = 0; i < 400; ++i) peers.emplace_back(Address{.unix_path = path()});
    EXPECT_TRUE(responder.logs("connections_closed"));
  }
  const Deadline deadline;  // while files are scarce, a connection may still be refused
  while (!is_healthy({.unix_path = path()})) ASSERT_GT(deadline.left_ms(), 0);
}

TEST_F(Sockets, TheLimitOnOpenFilesFitsTheStreams) {
  auto low = command({{"MAX_STREAMS", "200"}});
  low.argv = {"/bin/sh", "-c", "ulimit -S -n 100; exec \"$0\"", low.argv.front()};
  Responder responder(low);
  rlimit limit{};
  ASSERT_EQ(prlimit(responder.process().pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, 656U) << "two for each stream, and some others";
}

TEST_F(Sockets, WarnOfOpenFilesThatAreMissing) {
  auto poor = command({{"MAX_STREAMS", "200"}});
  const std::string program = poor.argv.front();
  poor.argv = {"/bin/sh", "-c", "ulimit -n 500; exec \"$@\"", "sh"};
  // Only root may raise a hard limit.
  if (getuid() == 0) poor.argv.insert(poor.argv.end(), {"setpriv", "--bounding-set", "-sys_resource"});
  poor.argv.push_back(program);
  const Responder responder(poor);
  EXPECT_TRUE(responder.logs("MAX_STREAMS=200 needs 656 open files, 156 more than allowed"));
}

TEST_F(Sockets, TheArgumentWinsOverTheSetting) {
  auto with_argument = command({});
  const auto other = dir_.socket("other");
  with_argument.argv.insert(with_argument.argv.end(), {"--listen", other});
  const Responder responder(with_argument);
  EXPECT_EQ(status_of_health({.unix_path = other}), 200);
}

}  // namespace
}  // namespace bailian::e2e
