// --supervise, and what the service manager hears.

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "answer.h"
#include "fcgi_peer.h"
#include "passed_socket.h"
#include "service_manager.h"
#include "stranger.h"

namespace bailian::e2e {
namespace {

class Supervised : public PassedSocket {
 protected:
  Command supervised(Settings settings = {}) const { return command({"--supervise"}, std::move(settings)); }
  static pid_t child_of(Responder& responder) { return children_of(responder.process().pid()).at(0); }
};

TEST_F(Supervised, RestartsWithoutTheEndOfAnAnswer) {
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGKILL}) {
    Responder first(supervised());
    auto exchange = stream("[[sim events=3 hold=1]]");
    EXPECT_EQ(read_text(exchange), "tok1 ");
    first.process().signal(signal);
    EXPECT_EQ(first.process().wait_alone(), signal == SIGKILL ? 128 + SIGKILL : 0);

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
  EXPECT_EQ(run(supervised({{"TIMEOUT", "soon"}})).exit_code, 78);
  Responder responder(supervised());
  const Stranger child(child_of(responder));
  child.signal(SIGTERM);
  EXPECT_EQ(responder.process().wait(), 0);
  for (const int signal : {SIGKILL, SIGSEGV, SIGABRT}) {
    Responder crashing(supervised());
    const Stranger its_child(child_of(crashing));
    its_child.signal(signal);
    const int exit_code = crashing.process().wait();
    EXPECT_TRUE(exit_code == 128 + signal || kSanitized) << exit_code;
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
  EXPECT_NE(finished.err.find("--supervise needs"), std::string::npos) << finished.err;
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
  for (int i = 0; i < 5; ++i) EXPECT_EQ(manager_.next(), "STATUS=0 streams, 0 requests");
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
