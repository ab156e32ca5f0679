// --supervise, and the notifications to the service manager.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/answer.h"
#include "harness/deadline.h"
#include "harness/fcgi_peer.h"
#include "harness/passed_socket.h"
#include "harness/service_manager.h"
#include "harness/stranger.h"
#include "harness/work_dir.h"

namespace bailian::e2e {
namespace {

// As in the unit: RestartKillSignal=SIGRTMIN.
const int kHandOver = SIGRTMIN;

bool can_listen_on(uint16_t port) {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
         listen(fd.get(), 1) == 0;
}

class Supervised : public PassedSocket {
 protected:
  Command supervised(Settings settings = {}) const { return command({"--supervise"}, std::move(settings)); }
  static pid_t child_of(Responder& responder) { return children_of(responder.process().pid()).at(0); }
};

// A service manager that restarts the program. The settings of each start are in .env.
class Misconfigured : public Supervised {
 protected:
  Command watched(Settings settings = {}) const {
    auto command = supervised(std::move(settings));
    manager_.watch(command);
    return command;
  }
  void write_good(const std::string& prompt) const { dir_.write(".env", "SYSTEM_PROMPT=" + prompt + "\n"); }
  void write_bad() const { dir_.write(".env", "SYSTEM_PROMPT=bad\nTIMEOUT=5m\n"); }
  // Waits until the manager has been notified of the bad settings.
  void await_fault(std::string_view consequence) const {
    const auto status = manager_.await("STATUS=misconfigured");
    EXPECT_NE(status.find(consequence), status.npos) << status;
    EXPECT_NE(status.find(".env:2: TIMEOUT: expected"), status.npos) << status;
  }
  void expect_answers_by(const std::string& prompt) const {
    EXPECT_EQ(text_at(ask("[[sim events=2]]").json(), "/result"), tokens(2));
    EXPECT_EQ(text_at(simulator_.last_request(), "/body/input/messages/0/content"), prompt);
    EXPECT_EQ(text_at(browser().get(kHealthPath).json(), "/status"), "healthy");
    EXPECT_EQ(text_at(browser().get(kReadyPath).json(), "/status"), "ready");
  }
  void expect_refusals() const {
    for (const auto* path : {kChatPath, kStreamPath})
      expect_error(browser().post(path, chat_body("hello")), 503, "not_configured", "The chat service");
    EXPECT_EQ(browser().get(kConfigPath).status, 503);
    const auto health = browser().get(kHealthPath);
    EXPECT_EQ(health.status, 200);
    EXPECT_EQ(text_at(health.json(), "/status"), "misconfigured");
    const auto ready = browser().get(kReadyPath);
    EXPECT_EQ(ready.status, 503);
    EXPECT_EQ(text_at(ready.json(), "/status"), "misconfigured");
  }
  static void hand_over(Process& process) {
    process.signal(kHandOver);
    EXPECT_EQ(process.wait_alone(), 0);
  }

  const ServiceManager manager_{dir_};
  static constexpr std::string_view kOldStays = "the previous settings stay in use";
  static constexpr std::string_view kNoneServes = "every chat gets an error";
};

TEST_F(Misconfigured, ARestartIntoBadSettingsChangesNothing) {
  write_good("before");
  Responder first(watched());
  auto exchange = stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");

  std::deque<Process> restarts;
  auto* running = &first.process();
  for (int i = 0; i < 3; ++i) {
    write_bad();
    hand_over(*running);
    running = &restarts.emplace_back(watched());
    await_fault(kOldStays);
    expect_answers_by("before");
  }
  // The processes in between have ended, and their settings are gone.
  for (size_t i = 0; i + 1 < restarts.size(); ++i) EXPECT_EQ(restarts[i].wait(), 0);

  write_good("after");
  hand_over(*running);
  Responder last(watched());
  EXPECT_EQ(running->wait(), 0);
  EXPECT_TRUE(first.logs("draining"));
  expect_answers_by("after");
  simulator_.release();
  EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
  first.process().wait();
  last.process().signal(SIGTERM);
  EXPECT_EQ(last.process().wait(), 0);
}

TEST_F(Misconfigured, AFirstStartAnswersAtOnceAndSighupMendsIt) {
  write_bad();
  Process process(watched());
  EXPECT_EQ(manager_.next(), "READY=1");
  await_fault(kNoneServes);
  expect_refusals();
  dir_.write(".env", "\nTIMEOUT=never\nWORKERS=none\n");
  process.signal(SIGHUP);
  manager_.await("RELOADING=1");
  const auto status = manager_.await("STATUS=misconfigured (2 faults)");
  EXPECT_NE(status.find(".env:3: WORKERS: expected"), status.npos) << status;
  expect_refusals();

  // All of the good settings apply, also those that a reload does not change.
  dir_.write(".env", "SYSTEM_PROMPT=good\nLOG_FILE=" + dir_.file("chat.log") + "\n");
  process.signal(SIGHUP);
  manager_.await("STATUS=0 streams");
  expect_answers_by("good");
  EXPECT_TRUE(std::filesystem::exists(dir_.file("chat.log")));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);

  size_t faults = 0;
  const auto log = process.err().text();
  for (auto at = log.find(R"("event":"setting")"); at != log.npos;
       at = log.find(R"("event":"setting")", at + 1))
    ++faults;
  EXPECT_EQ(faults, 3) << log;
}

TEST_F(Misconfigured, SighupWithGoodSettingsTakesOverFromTheEarlierProcess) {
  write_good("before");
  Responder first(watched());
  hand_over(first.process());
  write_bad();
  Process second(watched());
  await_fault(kOldStays);
  write_good("after");
  second.signal(SIGHUP);
  manager_.await("STATUS=0 streams");
  EXPECT_TRUE(first.logs("draining"));
  first.process().wait();
  expect_answers_by("after");
}

TEST_F(Misconfigured, AStopReachesTheEarlierProcess) {
  for (const bool child_alone : {false, true}) {
    write_good("before");
    Responder first(watched());
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    hand_over(first.process());
    write_bad();
    Process second(watched());
    await_fault(kOldStays);
    if (child_alone)
      kill(children_of(second.pid()).at(0), SIGTERM);
    else
      second.signal(SIGTERM);
    EXPECT_EQ(second.wait(), 0);
    EXPECT_TRUE(first.logs("draining"));
    simulator_.release();
    EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
    first.process().wait();
    EXPECT_EQ(serving_pid(), 0);
  }
}

TEST_F(Misconfigured, AnswersWhenTheEarlierProcessHasEnded) {
  write_good("before");
  Responder first(watched());
  const Stranger child(child_of(first));
  hand_over(first.process());
  write_bad();
  const Process second(watched());
  await_fault(kOldStays);
  child.signal(SIGKILL);
  await_fault(kNoneServes);
  expect_refusals();
}

TEST_F(Misconfigured, ALogFileThatCannotBeOpenedIsAFault) {
  Process process(watched({{"LOG_FILE", dir_.file("nowhere/chat.log")}}));
  const auto status = manager_.await("STATUS=misconfigured");
  EXPECT_NE(status.find("nowhere/chat.log"), status.npos) << status;
  expect_refusals();
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
}

TEST_F(Misconfigured, APlainStartEnds) {
  write_bad();
  const auto finished = run(command());
  EXPECT_EQ(finished.exit_code, 78);
  EXPECT_NE(finished.err.find(".env:2: TIMEOUT: expected"), std::string::npos) << finished.err;
}

TEST_F(Supervised, AHungLoopEndsTheProcessWhoseSupervisorIsGone) {
  for (const int signal : {kHandOver, SIGTERM}) {
    auto impatient = supervised({{"WORKERS", "2"}});
    impatient.env.emplace_back("WATCHDOG_USEC=200000");
    Responder responder(impatient);
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    const Stranger child(child_of(responder));
    responder.process().signal(signal);
    EXPECT_EQ(responder.process().wait_alone(), 0);
    EXPECT_TRUE(responder.logs(signal == SIGTERM ? "draining" : "handing_over"));
    // Its loops run, so it continues.
    simulator_.release();
    EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
    if (signal == SIGTERM) continue;
    std::optional<StoppedThread> hung;
    try {
      hung.emplace(threads_of(child.pid()).back());
    } catch (const std::system_error& error) {
      GTEST_SKIP() << "threads can't be stopped here: " << error.what();
    }
    responder.process().wait();  // its streams have ended
  }
}

TEST_F(Supervised, ADrainingProcessLeavesItsPortToOthers) {
  auto listener = listen_on_loopback();
  const int on = 1;  // as systemd does: SIGTERM for the remaining process
  setsockopt(listener.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  auto start = supervised();
  start.fds = {{listener.fd.get(), 3}};
  Responder responder(start);
  FcgiPeer peer({.unix_path = {}, .port = listener.port});
  peer.send(fcgi::request("POST", kStreamPath, chat_body("[[sim events=3 hold=1]]")));
  EXPECT_TRUE(simulator_.reaches("held", 1));
  listener.fd.close();
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait_alone(), 0);
  EXPECT_TRUE(responder.logs("draining"));
  const Deadline deadline;
  while (!can_listen_on(listener.port) && deadline.left_ms() > 0) std::this_thread::yield();
  EXPECT_TRUE(can_listen_on(listener.port));
  simulator_.release();
  EXPECT_NE(peer.read_reply().response.body.find("tok3"), std::string::npos);
  responder.process().wait();
}

TEST_F(Supervised, EndsWhenNobodyCanReachItsSocketAnyMore) {
  auto impatient = supervised();
  impatient.env.emplace_back("WATCHDOG_USEC=200000");
  Responder responder(impatient);
  responder.process().signal(kHandOver);
  EXPECT_EQ(responder.process().wait_alone(), 0);
  EXPECT_TRUE(responder.logs("handing_over"));
  std::filesystem::remove(dir_.socket("fcgi"));
  responder.process().wait();
  EXPECT_TRUE(responder.logs("stopped"));
}

TEST_F(Supervised, RestartsWithoutTheEndOfAnAnswer) {
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGKILL, kHandOver}) {
    Responder first(supervised());
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    first.process().signal(signal);
    EXPECT_EQ(first.process().wait_alone(), signal == SIGKILL ? 128 + SIGKILL : 0);
    const bool goes_on = signal == SIGKILL || signal == kHandOver;
    EXPECT_TRUE(first.logs(goes_on ? "handing_over" : "draining"));
    EXPECT_EQ(first.log().find("handing_over") != std::string::npos, goes_on) << first.log();
    if (goes_on) {
      EXPECT_EQ(text_at(ask("[[sim events=2]]").json(), "/result"), tokens(2));
    }

    Responder second(supervised());
    EXPECT_EQ(text_at(ask("[[sim events=2]]").json(), "/result"), tokens(2));
    EXPECT_TRUE(first.logs("draining"));
    simulator_.release();
    EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
    first.process().wait();
    EXPECT_TRUE(first.logs("stopped"));
    second.process().signal(SIGTERM);
    EXPECT_EQ(second.process().wait(), 0);
  }
}

TEST_F(Supervised, AnswersFinishWhenAllItsProcessesAreToldToEnd) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Responder responder(supervised());
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    const Stranger child(child_of(responder));
    child.signal(signal);
    EXPECT_TRUE(responder.logs("draining"));
    responder.process().signal(signal);
    EXPECT_EQ(responder.process().wait_alone(), 0);
    simulator_.release();
    EXPECT_EQ(read_stream(exchange).text, "tok2 tok3 ");
    child.await_end();
  }
}

TEST_F(Supervised, WhatWasAcceptedIsServedToTheEnd) {
  Responder responder(supervised());
  FcgiPeer peer({.unix_path = dir_.socket("fcgi")});
  const auto question = fcgi::request("POST", kChatPath, chat_body("[[sim events=2]]"));
  peer.send_apart(std::string_view(question).substr(0, 20));
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait_alone(), 0);
  EXPECT_TRUE(responder.logs("draining"));
  peer.send(std::string_view(question).substr(20));
  EXPECT_EQ(text_at(peer.read_reply().response.json(), "/result"), tokens(2));
}

TEST_F(Supervised, EndsAsItsChildEnds) {
  Responder responder(supervised());
  const Stranger child(child_of(responder));
  child.signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
  for (const int signal : {SIGKILL, SIGSEGV, SIGABRT}) {
    if (signal == SIGSEGV && is_sanitized())
      continue;  // a sanitizer handles it, and may wait for its own locks
    Responder crashing(supervised());
    const Stranger its_child(child_of(crashing));
    its_child.signal(signal);
    EXPECT_EQ(crashing.process().wait(), 128 + signal);
    EXPECT_FALSE(crashing.process().dumped_core());
  }
}

TEST_F(Supervised, TheWatchdogsSignalEndsBoth) {
  Responder responder(supervised());
  const Stranger child(child_of(responder));
  responder.process().signal(SIGABRT);
  child.await_end();
  EXPECT_NE(responder.process().wait(), 0);
}

TEST_F(Supervised, ReloadsAndIsNotUpgradedBySignals) {
  Responder responder(supervised());
  responder.process().signal(SIGHUP);
  EXPECT_TRUE(responder.logs(R"("event":"reloaded")"));
  responder.process().signal(SIGUSR2);
  EXPECT_TRUE(responder.logs(R"("event":"upgrade_ignored")"));
  EXPECT_EQ(ask("[[sim events=1]]").status, 200);
}

TEST_F(Supervised, NeedsASocketThatIsPassedOn) {
  const auto finished = run(responder_command(dir_, {{"FCGI_LISTEN", dir_.socket("own")}}, {"--supervise"}));
  EXPECT_EQ(finished.exit_code, 69);
  EXPECT_NE(finished.err.find("--supervise requires"), std::string::npos) << finished.err;
}

TEST_F(Supervised, TheServiceManagerHearsNothingOfItsEnd) {
  const ServiceManager manager(dir_);
  auto watched = supervised();
  manager.watch(watched);
  Responder responder(watched);
  manager.await("READY=1");
  auto exchange = stream("[[sim events=3 hold=1]]");
  EXPECT_EQ(read_text(exchange), "tok1 ");
  responder.process().signal(SIGTERM);
  EXPECT_EQ(responder.process().wait_alone(), 0);
  EXPECT_TRUE(responder.logs("draining"));
  while (const auto message = manager.next_now()) EXPECT_EQ(message->find("STOPPING"), message->npos);
  simulator_.release();
  read_stream(exchange);
  responder.process().wait();
  EXPECT_EQ(manager.next_now(), std::nullopt);
}

TEST_F(Supervised, TheServiceManagerHearsWhenTheChildAloneIsToldToEnd) {
  const ServiceManager manager(dir_);
  auto watched = supervised();
  manager.watch(watched);
  for (const int signal : {SIGTERM, SIGQUIT}) {
    Responder responder(watched);
    manager.await("READY=1");
    const Stranger child(child_of(responder));
    child.signal(signal);
    manager.await("STOPPING=1");
    EXPECT_EQ(responder.process().wait(), 0);
  }
}

class TheServiceManager : public PassedSocket {
 protected:
  Command watched(Settings settings = {}) const {
    auto result = command({}, std::move(settings));
    manager_.watch(result);
    return result;
  }

  const ServiceManager manager_{dir_};
};

TEST_F(TheServiceManager, HearsOfStartReloadAndEnd) {
  Responder responder(watched());
  EXPECT_EQ(manager_.next(), "READY=1");
  EXPECT_EQ(manager_.next(), "STATUS=0 streams, 0 requests");
  responder.process().signal(SIGHUP);
  EXPECT_TRUE(manager_.await("RELOADING=1").find("\nMONOTONIC_USEC=") != std::string::npos);
  manager_.await("READY=1");
  responder.process().signal(SIGTERM);
  manager_.await("STOPPING=1");
  EXPECT_EQ(responder.process().wait(), 0);
  EXPECT_EQ(manager_.next_now(), std::nullopt);
}

TEST_F(TheServiceManager, SeesWhyAReloadFailed) {
  Responder responder(watched());
  dir_.write(".env", "TIMEOUT=5m\nSLOW_ANSWER=never\n");
  responder.process().signal(SIGHUP);
  const auto status = manager_.await("reload failed: ");
  EXPECT_NE(status.find(".env:1: TIMEOUT: expected"), status.npos) << status;
  std::filesystem::remove(dir_.file(".env"));
  responder.process().signal(SIGHUP);
  for (auto message = manager_.next(); message != "STATUS=0 streams, 0 requests";) message = manager_.next();
}

TEST_F(TheServiceManager, SeesWhatIsUnderWay) {
  auto impatient = watched();
  impatient.env.emplace_back("WATCHDOG_USEC=200000");
  const Responder responder(impatient);
  auto exchange = stream("[[sim events=3 hold=1]]");
  read_text(exchange);
  ask("[[sim events=1]]");
  manager_.await("STATUS=1 streams, 2 requests");
  manager_.await("WATCHDOG=1");
}

TEST_F(TheServiceManager, SeesWhatIsUnderWayWithinASecondHoweverSlowTheWatchdog) {
  auto patient = watched();
  patient.env.emplace_back("WATCHDOG_USEC=3600000000");
  const Responder responder(patient);
  EXPECT_EQ(manager_.next(), "READY=1");
  EXPECT_EQ(manager_.next(), "STATUS=0 streams, 0 requests");
  auto exchange = stream("[[sim events=3 hold=1]]");
  read_text(exchange);
  manager_.await("STATUS=1 streams, 1 requests");
  // It sends nothing twice.
  ask("[[sim events=1]]");
  for (auto message = manager_.next(); message.find("1 streams, 2 requests") == message.npos;
       message = manager_.next())
    EXPECT_EQ(message.find("STATUS=1 streams, 1 requests"), message.npos);
}

TEST_F(TheServiceManager, IsToldOfWhatIsUnderWayOnceASecond) {
  const Responder responder(watched());
  manager_.await("STATUS=0 streams, 0 requests");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 30; ++i) ask("[[sim events=1]]");
  int messages = 0;
  while (manager_.next_now()) ++messages;
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  EXPECT_LE(messages, passed.count() + 1);
}

TEST_F(TheServiceManager, HearsNoSignOfLifeWhenALoopHangs) {
  auto impatient = watched({{"WORKERS", "2"}});
  impatient.env.emplace_back("WATCHDOG_USEC=200000");
  Responder responder(impatient);
  manager_.await("WATCHDOG=1");
  std::optional<StoppedThread> hung;
  try {
    hung.emplace(threads_of(responder.process().pid()).back());
  } catch (const std::system_error& error) {
    GTEST_SKIP() << "threads can't be stopped here: " << error.what();
  }
  EXPECT_TRUE(responder.logs("loop_hangs"));
  while (manager_.next_now()) {
  }
  // The other loop still answers, and the first one reports its state.
  for (int i = 1; i <= 2; ++i) {
    EXPECT_EQ(browser().get(kHealthPath).status, 200);
    EXPECT_EQ(manager_.next(), "STATUS=0 streams, " + std::to_string(i) + " requests");
  }
  hung.reset();
  manager_.await("WATCHDOG=1");
}

TEST_F(TheServiceManager, IsNotLostByAnUpgrade) {
  auto unheard = command();  // Type=simple
  unheard.announces_listen_fds = false;
  unheard.fds = {{listener_.get(), 0}};
  unheard.argv = {"/bin/sh", "-c", "SYSTEMD_EXEC_PID=$$ exec \"$0\"", unheard.argv.front()};
  for (const auto& start : {watched(), unheard}) {
    Responder responder(start);
    responder.process().signal(SIGUSR2);
    EXPECT_TRUE(responder.logs(R"("event":"upgrade_ignored")"));
    EXPECT_EQ(ask("[[sim events=1]]").status, 200);
    responder.process().signal(SIGTERM);
    EXPECT_EQ(responder.process().wait(), 0);
  }
}

}  // namespace
}  // namespace bailian::e2e
