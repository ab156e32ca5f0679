// SIGUSR2: the program on disk takes over.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "harness/answer.h"
#include "harness/fcgi_peer.h"
#include "harness/passed_socket.h"
#include "harness/stranger.h"

namespace bailian::e2e {
namespace {

// The process that an event of the log names.
Stranger await_event(const Responder& responder, std::string_view event, int number = 1) {
  return Stranger(static_cast<pid_t>(number_at(responder.event(event, number), "/pid")));
}

class Upgrade : public PassedSocket {
 protected:
  // A responder that opens its own socket.
  Command own(Settings settings = {}) {
    listener_.close();
    settings.emplace("FCGI_LISTEN", dir_.socket("fcgi"));
    std::filesystem::remove(dir_.socket("fcgi"));
    settings.merge(site_settings(dir_, simulator_));
    return responder_command(dir_, settings);
  }

  // The same, from a copy of the program that the test may replace.
  Command own_copy(Settings settings = {}) {
    auto command = own(std::move(settings));
    std::filesystem::copy_file(command.argv[0], copy_);
    command.argv[0] = copy_;
    return command;
  }
  void replace_copy(const std::string& script) const {
    chmod(dir_.write("new", script).c_str(), 0755);
    std::filesystem::rename(dir_.file("new"), copy_);
  }

  void expect_answers() { EXPECT_EQ(text_at(ask("[[sim events=2]]").json(), "/result"), tokens(2)); }
  // A failed upgrade does not affect the old program.
  void expect_failure(Responder& responder, std::string_view why) {
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    responder.process().signal(SIGUSR2);
    const auto line = to_text(responder.event("upgrade_failed", ++failures_));
    EXPECT_NE(line.find(why), line.npos) << line;
    expect_answers();
    simulator_.release();
    EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
    EXPECT_TRUE(children_of(responder.process().pid()).empty());
  }

  const std::string copy_ = dir_.file("bailian-fcgi");
  int failures_ = 0;
};

TEST_F(Upgrade, TheSuccessorServesAndLiveAnswersFinish) {
  Responder first(own());
  auto exchange = stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  EXPECT_TRUE(first.logs("draining"));
  expect_answers();
  EXPECT_EQ(text_at(browser().get(kReadyPath).json(), "/status"), "ready");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(first.process().wait_alone(), 0);

  // Each successor owns the socket and passes it on; the last one removes it.
  expect_answers();
  second.signal(SIGUSR2);
  const auto third = await_event(first, "upgraded", 2);
  second.await_end();
  expect_answers();
  third.signal(SIGTERM);
  third.await_end();
  EXPECT_FALSE(std::filesystem::exists(dir_.socket("fcgi")));
  first.process().wait();
  check_log(first.log());
}

TEST_F(Upgrade, AQuestionThatTheOldProcessIsAnsweringIsNotAskedAgain) {
  Responder first(own());
  const auto keyed = [this](const std::string& prompt, const std::string& path, const char* key = "key-1") {
    HttpRequest request{.method = "POST", .path = path, .body = chat_body(prompt)};
    request.headers.add("Content-Type", "application/json");
    request.headers.add("Idempotency-Key", key);
    return browser().send(request);
  };
  const std::string prompt = "[[sim events=3 hold=1]]";
  auto exchange = keyed(prompt, kStreamPath);
  EXPECT_EQ(read_text(exchange), "tok1 ");
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  for (const char* const path : {kStreamPath, kChatPath}) {
    const Response refused = keyed(prompt, path).read_all();
    expect_error(refused, 409, "idempotency_in_progress", "The question with this Idempotency-Key");
    EXPECT_EQ(refused.headers.get("Retry-After"), "1");
    EXPECT_EQ(refused.headers.get("x-should-retry"), "");
  }
  EXPECT_EQ(simulator_.count("requests"), 1);
  EXPECT_EQ(keyed("[[sim events=1]]", kChatPath, "key-2").read_all().status, 200);
  EXPECT_EQ(simulator_.count("requests"), 2);

  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  EXPECT_EQ(first.process().wait_alone(), 0);
  EXPECT_EQ(text_at(keyed("[[sim events=2]]", kChatPath).read_all().json(), "/result"), tokens(2));
  EXPECT_EQ(simulator_.count("requests"), 3);
}

TEST_F(Upgrade, WorksWithTcpAndWithSocketsThatWerePassedOn) {
  const auto over_tcp = "127.0.0.1:" + std::to_string(unused_port());
  auto by_systemd = command();
  auto as_zero = command();
  as_zero.announces_listen_fds = false;
  as_zero.fds = {{listener_.get(), 0}};
  for (auto& start : {by_systemd, as_zero}) {
    Responder first(start);
    first.process().signal(SIGUSR2);
    const auto second = await_event(first, "upgraded");
    EXPECT_EQ(first.process().wait_alone(), 0);
    expect_answers();
    second.signal(SIGTERM);
    second.await_end();
    EXPECT_TRUE(std::filesystem::exists(dir_.socket("fcgi")));
  }
  Responder first(own({{"FCGI_LISTEN", over_tcp}}));
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  EXPECT_EQ(first.process().wait_alone(), 0);
  FcgiPeer peer({.unix_path = {}, .port = static_cast<uint16_t>(std::stoi(over_tcp.substr(10)))});
  peer.send(fcgi::request("GET", kReadyPath));
  EXPECT_EQ(peer.read_reply().response.status, 200);
  int listening = 0;
  EXPECT_TRUE(first.process().err().await_line([&](std::string_view line) {
    return line.find("\"listening\"") != line.npos && line.find(over_tcp) != line.npos && ++listening == 2;
  })) << first.log();
  second.signal(SIGTERM);
  second.await_end();
}

TEST_F(Upgrade, TakesTheProgramThatIsOnDiskNow) {
  auto start = own_copy();
  start.env.emplace_back("KEPT=as it was");
  start.argv.emplace_back("--env-file=/dev/null");
  Responder first(start);
  replace_copy("#!/bin/sh\necho \"new $KEPT $*\" >&2\nexec " + sibling_program("bailian-fcgi") + " \"$@\"\n");
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  EXPECT_TRUE(first.logs("new as it was --env-file=/dev/null"));
  EXPECT_EQ(first.process().wait_alone(), 0);
  expect_answers();
}

TEST_F(Upgrade, IsFoundByThePathAsTheShellDoes) {
  auto start = own_copy();
  start.argv = {"/bin/sh", "-c", "PATH=" + dir_.path() + ":$PATH; exec bailian-fcgi"};
  Responder first(start);
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  EXPECT_EQ(first.process().wait_alone(), 0);
  expect_answers();
}

// nginx never repeats a POST that meets a closed connection: the visitor gets a 502.
TEST_F(Upgrade, CostsNoRequestOfAnNginxThatKeepsItsConnections) {
  constexpr int kVisitors = 8;
  constexpr int kUpgrades = 10;
  Responder first(own());
  Nginx keeping(dir_, "keeping",
                "  fastcgi_keep_conn on;\n  upstream responder { server unix:" + dir_.socket("fcgi") +
                    "; keepalive 32; }\n" + stock_server("unix:" + dir_.socket("keeping"), "responder"));
  std::atomic<bool> ends{false};
  std::atomic<int> answers{0};
  std::atomic<int> failures{0};
  std::vector<std::thread> visitors;
  for (int i = 0; i < kVisitors; ++i) {
    visitors.emplace_back([&, streams = i % 2 == 0] {
      const Browser browser({.unix_path = dir_.socket("keeping")});
      const char* const path = streams ? kStreamPath : kChatPath;
      while (!ends) {
        try {
          const auto answer = browser.post(path, chat_body("[[sim events=1 delay=0]]"));
          if (answer.status != 200) ++failures;
        } catch (const std::exception&) {
          ++failures;
        }
        ++answers;
      }
    });
  }
  const auto await_answers = [&](int number) {
    for (const int until = answers + number; answers < until;) std::this_thread::yield();
  };
  std::optional<Stranger> serving;
  for (int i = 1; i <= kUpgrades; ++i) {
    await_answers(50);
    if (serving) {
      serving->signal(SIGUSR2);
    } else {
      first.process().signal(SIGUSR2);
    }
    auto next = await_event(first, "upgraded", i);
    await_answers(50);
    if (serving) serving->await_end();
    serving = std::move(next);
  }
  ends = true;
  for (auto& visitor : visitors) visitor.join();
  EXPECT_EQ(failures, 0) << "of " << answers << " answers";
}

TEST_F(Upgrade, ReadsTheSettingsOfNow) {
  auto start = own();
  dir_.write(".env", "SYSTEM_PROMPT=before\n");
  Responder first(start);
  expect_answers();  // it serves: ThreadSanitizer may lose a signal before
  dir_.write(".env", "SYSTEM_PROMPT=after\n");
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  EXPECT_EQ(first.process().wait_alone(), 0);
  expect_answers();
  EXPECT_EQ(text_at(simulator_.last_request(), "/body/input/messages/0/content"), "after");
}

TEST_F(Upgrade, ThatFailsChangesNothing) {
  auto start = own_copy();
  Responder responder(start);
  dir_.write(".env", "TIMEOUT=soon\n");
  expect_failure(responder, "exit code 78");
  EXPECT_TRUE(responder.logs("TIMEOUT: expected"));
  std::filesystem::remove(dir_.file(".env"));
  replace_copy("#!/bin/sh\nkill -SEGV $$\n");
  expect_failure(responder, "signal 11");
  replace_copy("half a program");
  expect_failure(responder, "cannot be run");
  std::filesystem::remove(copy_);
  expect_failure(responder, "cannot be run");
  EXPECT_EQ(text_at(browser().get(kReadyPath).json(), "/status"), "ready");

  std::filesystem::copy_file(sibling_program("bailian-fcgi"), copy_);
  responder.process().signal(SIGUSR2);
  const auto successor = await_event(responder, "upgraded");
  EXPECT_EQ(responder.process().wait_alone(), 0);
  expect_answers();
}

TEST_F(Upgrade, ThatFailsIsSeenWhereTheEndsOfChildrenWereIgnored) {
  auto start = own_copy();
  start.argv = {"/bin/sh", "-c", "trap '' CHLD; exec \"$0\"", copy_};
  Responder responder(start);
  replace_copy("#!/bin/sh\nexit 42\n");
  expect_failure(responder, "exit code 42");
}

TEST_F(Upgrade, ThatIsNeverReadyIsGivenUp) {
  Responder responder(own_copy());
  replace_copy("#!/bin/sh\nexec sleep 1000\n");
  responder.process().signal(SIGUSR2);
  const auto hung = await_event(responder, "upgrade");
  responder.process().signal(SIGUSR2);
  EXPECT_TRUE(responder.logs("is already starting"));
  EXPECT_EQ(children_of(responder.process().pid()), std::vector{hung.pid()});
  expect_answers();
  EXPECT_TRUE(responder.logs("was not ready in 10 s"));
  hung.await_end();
  expect_answers();
}

TEST_F(Upgrade, IsGivenUpWhenTheProgramIsToldToEnd) {
  Responder responder(own_copy());
  replace_copy("#!/bin/sh\nexec sleep 1000\n");
  responder.process().signal(SIGUSR2);
  const auto hung = await_event(responder, "upgrade");
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
  hung.await_end();
  EXPECT_FALSE(std::filesystem::exists(dir_.socket("fcgi")));
}

TEST_F(Upgrade, OnlyTheSuccessorMaySayThatItIsReady) {
  Responder responder(own_copy());
  replace_copy("#!/bin/sh\necho \"socket $NOTIFY_SOCKET\" >&2\nexec sleep 1000\n");
  responder.process().signal(SIGUSR2);
  const auto hung = await_event(responder, "upgrade");
  const auto line = responder.process().err().await_line(
      [](std::string_view text) { return text.starts_with("socket @"); });
  ASSERT_TRUE(line);
  send_datagram({.unix_path = line->substr(7)}, "READY=1");
  EXPECT_EQ(text_at(browser().get(kReadyPath).json(), "/status"), "ready");
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
  EXPECT_FALSE(responder.logs("\"upgraded\""));
}

TEST_F(Upgrade, TheSuccessorHoldsNothingOfItsPredecessor) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may look into /proc";
  Responder first(own());
  expect_answers();
  const auto files = first.process().open_files();
  std::vector<Exchange> exchanges;
  for (int i = 0; i < 30; ++i) {
    exchanges.push_back(stream("[[sim events=3 hold=1]]"));
    read_text(exchanges.back());
  }
  first.process().signal(SIGUSR2);
  const auto second = await_event(first, "upgraded");
  expect_answers();
  EXPECT_LE(open_files_of(second.pid()), files + 2);
  // A visitor leaves and the upstream sees it at once, so no other process holds the connection.
  exchanges.clear();
  EXPECT_TRUE(simulator_.reaches("cut", 30));
  EXPECT_EQ(first.process().wait_alone(), 0);
}

}  // namespace
}  // namespace bailian::e2e
