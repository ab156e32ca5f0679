// A server that is away, hangs, has lost its data, or is none; and hosts that are gone.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "harness/socket.h"
#include "ledger/redis_check.h"
#include "ledger/redis_host.h"
#include "ledger/redis_ledger.h"
#include "ledger/redis_script.h"
#include "unit/ledger/redis_hosts.h"

namespace bailian {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitized = true;
#else
constexpr bool kThreadSanitized = false;
#endif

// Every bot has a cap, which is far away.
class RedisFaults : public RedisLedgers {
 protected:
  Config config(const std::string& url = {}) const {
    Config config = RedisLedgers::config(url);
    config.caps.day = 1'000'000;
    return config;
  }
  static bool comes_to_fault(const RedisLedger& ledger, const std::string& part) {
    return comes_true([&] { return ledger.fault().find(part) != std::string::npos; });
  }
  void use(RedisLedger& ledger, uint64_t input, uint64_t output) {
    TestAnswer answer(loop_, ledger);
    ASSERT_TRUE(answer.is_leased());
    EXPECT_TRUE(answer.settle(input, output));
    answer.finish();
  }
};

// Passes on what client and server send; can lose what the server sends and the connection with it.
class Proxy {
 public:
  Proxy(const std::string& path, std::string server)
      : server_(std::move(server)), listener_(e2e::listen_on_unix(path)), thread_([this] { run(); }) {}
  ~Proxy() {
    ends_ = true;
    thread_.join();
  }
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // The next answer of the server is lost.
  void lose_next() { loses_ = true; }
  int lost() const { return lost_; }

 private:
  void run() {
    while (!ends_) {
      pollfd ready{listener_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 10) == 1) serve(e2e::accept_from(listener_));
    }
  }
  void serve(const e2e::Fd& client) {
    const e2e::Fd server = e2e::connect_to({.unix_path = server_});
    while (!ends_) {
      std::array<pollfd, 2> ready{{{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}}};
      if (::poll(ready.data(), ready.size(), 10) <= 0) continue;
      for (size_t i = 0; i < 2; ++i) {
        if (ready[i].revents == 0) continue;
        std::array<char, 65536> bytes;
        const ssize_t got = ::read(ready[i].fd, bytes.data(), bytes.size());
        if (got <= 0) return;
        if (i == 1 && loses_.exchange(false)) {
          ++lost_;
          return;
        }
        e2e::send_all(i == 0 ? server : client, {bytes.data(), static_cast<size_t>(got)});
      }
    }
  }

  const std::string server_;
  e2e::Fd listener_;
  std::atomic<bool> ends_{false};
  std::atomic<bool> loses_{false};
  std::atomic<int> lost_{0};
  std::thread thread_;
};

TEST_F(RedisFaults, ALostReplyIsAskedForAgainAndNothingIsCountedTwice) {
  start();
  Proxy proxy(dir_.socket("proxy"), server_->socket());
  const auto ledger = join(config("unix://" + dir_.socket("proxy")));
  for (int i = 1; i <= 5; ++i) {
    proxy.lose_next();
    use(*ledger, 200, 50);
    ASSERT_TRUE(comes_to("a|default", static_cast<uint64_t>(i)));
    ASSERT_TRUE(comes_true([&] { return proxy.lost() == i; }));
  }
  EXPECT_TRUE(comes_to("c|default", 1250));
  EXPECT_EQ(counted("i|default"), 1000U);
}

TEST_F(RedisFaults, AHostThatLeavesIsCountedOnceThoughTheReplyIsLost) {
  start();
  Proxy proxy(dir_.socket("proxy"), server_->socket());
  const auto leave = [&](uint64_t cached) {
    auto ledger = join(config("unix://" + dir_.socket("proxy")));
    for (uint64_t i = 0; i < cached; ++i) ledger->count_cached("default");
    proxy.lose_next();
    ledger.reset();
  };
  leave(3);
  EXPECT_EQ(counted("h|default"), 3U);
  const std::string epoch = server_->ask({"HGET", "{bailian}:state", "epoch"});
  leave(0);
  EXPECT_EQ(proxy.lost(), 2);
  EXPECT_EQ(server_->ask({"HGET", "{bailian}:state", "epoch"}), epoch) << "no data were lost";
  EXPECT_EQ(server_->ask({"HLEN", "{bailian}:hosts"}), "0");
}

TEST_F(RedisFaults, ABatchThatIsRepeatedDoesNotSetTheDayBack) {
  start();
  const Day today = *parse_compact_date("20261127");
  RedisHeader header;
  header.host = "ab";
  header.sequence = 1;
  header.day = today;
  header.lease_time = std::chrono::seconds(60);
  header.new_visitor_key = "key";
  header.new_epoch = "epoch";
  std::vector<std::string> command{"EVAL", std::string(redis_script()), "1", "{bailian}:state"};
  for (auto& word : redis_batch_words(header, {}, nullptr, {})) command.push_back(std::move(word));
  ASSERT_NE(server_->ask(command).find("20261127"), std::string::npos);
  server_->ask({"HSET", "{bailian}:state", "day", "20261128"});
  server_->ask(command);
  EXPECT_EQ(server_->ask({"HGET", "{bailian}:state", "day"}), "20261128");
}

TEST_F(RedisFaults, ADayThatCannotBeReadIsLeftOut) {
  start();
  { const auto ledger = join(config()); }
  const Day today = *parse_compact_date(server_->ask({"HGET", "{bailian}:state", "day"}));
  server_->ask({"SET", "{bailian}:day:" + compact_date(today - 1), "mine"});
  server_->ask({"HSET", "{bailian}:day:" + compact_date(today - 2), "i|default", "7"});
  RedisLedger command(config(), {.waits = true});
  const LedgerReport report = command.report(3);
  ASSERT_EQ(report.bots.size(), 2U);
  ASSERT_EQ(report.bots[1].days.size(), 1U);
  EXPECT_EQ(report.bots[1].days[0].spent.tokens(), 7U);
  EXPECT_NO_THROW(command.resume("default")) << "it goes on";
}

TEST_F(RedisFaults, ARestartOfTheServerIsNoFaultAndNoVisitorIsRefused) {
  start({"--appendonly", "yes", "--appendfsync", "always"});
  const auto ledger = join(config());
  use(*ledger, 200, 50);
  TestAnswer open(loop_, *ledger);
  ASSERT_TRUE(open.is_leased());
  ASSERT_TRUE(comes_to("a|default", 1));
  ledger->resume("default");  // the server has just answered
  const auto away = Clock::now();
  server_->kill();
  TestAnswer waiting(loop_, *ledger);
  server_->start();
  if (Clock::now() - away > RedisHost::kPatience / 2) GTEST_SKIP() << "the server does not start in time";
  EXPECT_TRUE(waiting.is_leased()) << "it waits for the server";
  EXPECT_TRUE(open.settle(200, 100));
  open.finish();
  waiting.end();
  EXPECT_TRUE(comes_to("c|default", 250 + 300));
  EXPECT_EQ(ledger->fault(), "");
}

TEST_F(RedisFaults, AHostThatLeavesWhileTheServerStartsIsCounted) {
  start({"--appendonly", "yes", "--appendfsync", "always"});
  auto ledger = join(config());
  use(*ledger, 200, 50);
  ASSERT_TRUE(comes_to("a|default", 1));
  ledger->resume("default");  // the server has just answered
  const auto away = Clock::now();
  server_->kill();
  ledger->count_cached("default");
  std::thread leaving([&] { ledger.reset(); });
  server_->start();
  const bool is_in_time = Clock::now() - away < RedisHost::kPatience / 2;
  leaving.join();
  if (!is_in_time) GTEST_SKIP() << "the server does not start in time";
  EXPECT_EQ(counted("h|default"), 1U);
  EXPECT_EQ(server_->ask({"HLEN", "{bailian}:hosts"}), "0");
}

TEST_F(RedisFaults, AServerThatLostItsDataGetsTheLargestTotalsThatItsHostsRemember) {
  start();
  const auto first = join(config());
  const auto second = join(config());
  use(*first, 200, 50);
  use(*second, 300, 60);
  second->pause("", "closed", false);
  ASSERT_TRUE(comes_to("c|default", 610));
  ASSERT_TRUE(comes_true([&] { return first->report(1).bots[1].days[0].spent.tokens() == 610; }));
  ASSERT_TRUE(comes_true([&] { return second->report(1).bots[1].days[0].spent.tokens() == 610; }));
  server_->kill();
  server_->start();
  EXPECT_TRUE(comes_to("c|default", 610));
  EXPECT_TRUE(comes_to("i|", 500));
  first->resume("");
  ASSERT_TRUE(comes_true([&] { return !second->closed("default"); }));
  use(*first, 10, 1);
  use(*second, 20, 2);
  EXPECT_TRUE(comes_to("c|default", 643));
  EXPECT_TRUE(comes_to("a|", 4));
}

TEST_F(RedisFaults, AServerWithOldDataGetsWhatIsNewer) {
  start();
  const auto ledger = join(config());
  use(*ledger, 200, 50);
  ASSERT_TRUE(comes_to("c|default", 250));
  ASSERT_EQ(server_->ask({"SAVE"}), "OK");
  use(*ledger, 300, 60);
  ASSERT_TRUE(comes_true([&] { return ledger->report(1).bots[1].days[0].spent.tokens() == 610; }));
  server_->kill();
  server_->start();
  EXPECT_TRUE(comes_to("c|default", 610));
  use(*ledger, 10, 1);
  EXPECT_TRUE(comes_to("c|default", 621));
}

TEST_F(RedisFaults, AServerThatHangsRefusesWhatHasACapAndRecoversByItself) {
  start();
  Config limited = config();
  const auto ledger = join(limited);
  TestAnswer open(loop_, *ledger);
  ASSERT_TRUE(open.is_leased());
  server_->signal(SIGSTOP);
  TestAnswer waiting(loop_, *ledger);
  ASSERT_FALSE(waiting.is_leased());
  EXPECT_EQ(waiting.taken().refusal->cause, Refusal::Cause::kUnknown);
  EXPECT_TRUE(comes_true([&] { return !ledger->fault().empty(); }));
  EXPECT_EQ(ledger->closed("default")->cause, Refusal::Cause::kUnknown);
  TestAnswer refused(loop_, *ledger);
  EXPECT_FALSE(refused.is_leased());
  EXPECT_TRUE(open.settle(200, 300)) << "within its lease";
  EXPECT_TRUE(comes_true([&] { return !open.settle(200, 600); })) << "beyond its lease";
  EXPECT_EQ(open.refusal().cause, Refusal::Cause::kUnknown);
  open.finish();
  server_->signal(SIGCONT);
  EXPECT_TRUE(comes_true([&] { return ledger->fault().empty(); }));
  EXPECT_TRUE(comes_to("c|default", 800)) << "a lease that was refused meanwhile is given back";
  EXPECT_TRUE(TestAnswer(loop_, *ledger).is_leased());
}

TEST_F(RedisFaults, WithOpenChatsAreServedWhileTheServerIsAwayAndCountedLater) {
  start();
  Config limited = config();
  limited.caps_open_on_fault = true;
  const auto ledger = join(limited);
  TestAnswer open(loop_, *ledger);
  ASSERT_TRUE(open.is_leased());
  server_->kill();
  TestAnswer waiting(loop_, *ledger);
  EXPECT_TRUE(waiting.is_leased());
  EXPECT_TRUE(comes_true([&] { return !ledger->fault().empty(); }));
  EXPECT_EQ(ledger->closed("default"), std::nullopt);
  use(*ledger, 200, 50);
  EXPECT_TRUE(open.settle(200, 5000)) << "beyond its lease";
  open.finish();
  EXPECT_TRUE(waiting.settle(200, 10));
  server_->start();
  EXPECT_TRUE(comes_to("c|default", 250 + 5200 + 210 + kSlice)) << "a slice of the one that is open";
  waiting.finish();
  EXPECT_TRUE(comes_to("c|default", 250 + 5200 + 210));
  EXPECT_TRUE(comes_to("a|", 3));
}

TEST_F(RedisFaults, WithoutACapAChatIsServedWhateverTheServerDoes) {
  start();
  server_->kill();
  Config free = config();
  free.caps = {};
  const auto ledger = open(free);
  EXPECT_TRUE(comes_true([&] { return !ledger->fault().empty(); }));
  use(*ledger, 200, 50);
  server_->start();
  EXPECT_TRUE(comes_to("c|default", 250));
}

TEST_F(RedisFaults, AWrongPasswordIsNamedAndNotShown) {
  start({"--requirepass", "right"});
  const auto wrong = open(config(server_->url(":hunter2@")));
  EXPECT_TRUE(comes_to_fault(*wrong, "WRONGPASS"));
  EXPECT_EQ(wrong->fault().find("hunter2"), std::string::npos);
  EXPECT_EQ(wrong->report(1).storage.find("hunter2"), std::string::npos);
  const auto none = open(config());
  EXPECT_TRUE(comes_to_fault(*none, "NOAUTH"));
  EXPECT_FALSE(TestAnswer(loop_, *none).is_leased());
  const auto right = open(config(server_->url(":right@")));
  EXPECT_TRUE(comes_true([&] { return right->fault().empty(); })) << right->fault();
}

TEST_F(RedisFaults, AUserWithTheRightsOfTheDocumentSuffices) {
  start();
  std::vector<std::string> rule{"ACL", "SETUSER", "bailian", "on", ">pw", "~{bailian}:*"};
  for (const char* command : {"ping", "select", "time",   "eval",          "evalsha", "hgetall", "hget",
                              "hset", "hsetnx", "hdel",   "hexists",       "hlen",    "hkeys",   "zadd",
                              "zrem", "zcard",  "zrange", "zrangebyscore", "expire",  "del",     "info"})
    rule.push_back(std::string("+") + command);
  ASSERT_EQ(server_->ask(rule), "OK");
  const auto ledger = join(config(server_->url("bailian:pw@")));
  TestAnswer answer(loop_, *ledger);
  EXPECT_TRUE(answer.is_leased());
}

TEST_F(RedisFaults, ForeignDataUnderTheKeysAreAFaultAndStay) {
  start();
  server_->ask({"SET", "{bailian}:hosts", "mine"});
  {
    const auto ledger = open(config());
    EXPECT_TRUE(comes_to_fault(*ledger, "WRONGTYPE")) << ledger->fault();
  }
  EXPECT_EQ(server_->ask({"GET", "{bailian}:hosts"}), "mine");
  server_->ask({"DEL", "{bailian}:hosts"});
  server_->ask({"HSET", "{bailian}:state", "version", "2"});
  {
    const auto ledger = open(config());
    EXPECT_TRUE(comes_to_fault(*ledger, "newer version")) << ledger->fault();
  }
  EXPECT_EQ(server_->ask({"DBSIZE"}), "1");
  server_->ask({"FLUSHALL"});
  const auto ledger = join(config());
  use(*ledger, 200, 50);
  ASSERT_TRUE(comes_to("c|default", 250));
  const std::string key =
      server_->ask({"--raw", "EVAL", "return redis.call('KEYS', '{bailian}:day:*')[1]", "0"});
  server_->ask({"HSET", key, "c|default", "many"});
  EXPECT_TRUE(TestAnswer(loop_, *ledger).is_leased()) << "a field that is no number is none";
}

TEST_F(RedisFaults, AServerThatTakesNoWritesIsNamed) {
  start({"--maxmemory", "1"});
  EXPECT_TRUE(comes_to_fault(*open(config()), "OOM"));
  server_->kill();
  start({"--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"});
  EXPECT_TRUE(comes_to_fault(*open(config()), "READONLY"));
}

// The process of a host: takes an answer of 200 + 100 tokens, of which it says so, and waits.
class Host {
 public:
  explicit Host(const Config& config) {
    std::array<int, 2> ends;
    if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      LoopThread loop;
      RedisLedger ledger(config, {});
      TestAnswer answer(loop, ledger);
      const bool is_good = answer.is_leased() && answer.settle(200, 100);
      [[maybe_unused]] const ssize_t written = ::write(ends[1], is_good ? "y" : "n", 1);
      for (;;) ::pause();
    }
    char answer = 0;
    is_good_ = ::read(ends[0], &answer, 1) == 1 && answer == 'y';
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Host() { signal(SIGKILL); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  bool is_good() const { return is_good_; }
  void signal(int number) {
    if (pid_ <= 0) return;
    ::kill(pid_, number);
    if (number != SIGKILL) return;
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  bool is_good_ = false;
};

// The server knows until when the leases of each host hold; that time has come for the first host.
class RedisHosts : public RedisFaults {
 protected:
  void SetUp() override {
    if (kThreadSanitized) GTEST_SKIP() << "a forked process may start no threads";
    start();
    host_.emplace(config());
    ASSERT_TRUE(host_->is_good());
    name_ = server_->ask({"ZRANGE", kAlive, "0", "0"});
  }
  // From now, by the server's clock.
  std::chrono::seconds lease_time() const {
    const std::string now = server_->ask({"TIME"});
    return std::chrono::seconds(std::stoll(server_->ask({"ZSCORE", kAlive, name_})) / 1000 - std::stoll(now));
  }
  bool comes_to_end_with(uint64_t estimated) {
    return comes_true([&] {
      server_->ask({"ZADD", kAlive, "XX", "1", name_});
      return counted("e|default") == estimated;
    });
  }

  static constexpr const char* kAlive = "{bailian}:alive";
  std::optional<Host> host_;
  std::string name_;
};

TEST_F(RedisHosts, ThatAreGoneHaveSpentTheirLeasesAfterTheirTime) {
  const auto ledger = join(config());
  ASSERT_TRUE(comes_to("o|default", 100));
  ASSERT_TRUE(comes_true([&] { return ledger->report(1).bots[1].open_leases == 1; }));
  EXPECT_EQ(ledger->report(1).bots[1].caps[0].used, 300U);
  host_->signal(SIGKILL);
  EXPECT_LE(lease_time(), std::chrono::seconds(60));
  EXPECT_GT(lease_time(), std::chrono::seconds(30));
  EXPECT_EQ(counted("e|default"), 0U);
  EXPECT_TRUE(comes_to_end_with(kSlice - 100)) << "what it may have used";
  EXPECT_EQ(counted("c|default"), 200 + kSlice);
  EXPECT_TRUE(comes_true([&] { return ledger->report(1).bots[1].open_leases == 0; }));
  EXPECT_EQ(ledger->report(1).bots[1].caps[0].used, 200 + kSlice);
}

TEST_F(RedisHosts, ThatComeBackHaveSpentOnlyWhatTheyUsed) {
  const auto ledger = join(config());
  ASSERT_TRUE(comes_to("o|default", 100));
  host_->signal(SIGSTOP);
  ASSERT_TRUE(comes_to_end_with(kSlice - 100));
  host_->signal(SIGCONT);
  EXPECT_TRUE(comes_to("e|default", 0));
  EXPECT_TRUE(comes_to("o|default", 100));
}

// Sends the same bytes over each connection, whatever it is asked.
class ScriptedServer {
 public:
  ScriptedServer(const std::string& path, std::string bytes)
      : bytes_(std::move(bytes)), listener_(e2e::listen_on_unix(path)), thread_([this] { run(); }) {}
  ~ScriptedServer() {
    ends_ = true;
    thread_.join();
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

 private:
  void run() {
    while (!ends_) {
      pollfd ready{listener_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 10) == 1) serve(e2e::accept_from(listener_));
    }
  }
  void serve(const e2e::Fd& client) {
    ::send(client.get(), bytes_.data(), bytes_.size(), MSG_NOSIGNAL);
    while (!ends_) {
      pollfd more{client.get(), POLLIN, 0};
      std::array<char, 65536> asked;
      if (::poll(&more, 1, 10) == 1 && ::read(client.get(), asked.data(), asked.size()) <= 0) return;
    }
  }

  const std::string bytes_;
  e2e::Fd listener_;
  std::atomic<bool> ends_{false};
  std::thread thread_;
};

TEST_F(RedisFaults, AHostileServerCrashesNothing) {
  const std::string greeting = "+PONG\r\n*2\r\n$10\r\n1795000000\r\n$1\r\n0\r\n";
  const std::string hostile[] = {
      "",
      "+OK\r\n",
      "-ERR no\r\n",
      "$-1\r\n",
      "*-1\r\n",
      "*0\r\n",
      ":1\r\n",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "*2147483647\r\n",
      "$2147483647\r\n",
      "+PONG\r\n*2\r\n$2\r\nxx\r\n$1\r\n0\r\n",
      "+PONG\r\n*2\r\n$1\r\n0\r\n$1\r\n0\r\n",
      "+PONG\r\n*2\r\n$20\r\n99999999999999999999\r\n$1\r\n0\r\n",
      greeting,  // then nothing
      greeting + "+OK\r\n+OK\r\n",
      greeting + "*0\r\n",
      greeting + "*1\r\n$2\r\nok\r\n",
      greeting + "*5\r\n$4\r\nlost\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\n0\r\n$1\r\n0\r\n",
      greeting + "*5\r\n$3\r\nday\r\n$1\r\n1\r\n$1\r\ne\r\n$8\r\n99999999\r\n$1\r\n0\r\n",
      greeting + "-NOSCRIPT x\r\n-NOSCRIPT x\r\n-NOSCRIPT x\r\n",
  };
  std::vector<std::unique_ptr<ScriptedServer>> servers;
  std::vector<std::unique_ptr<RedisLedger>> ledgers;
  for (const std::string& reply : hostile) {
    const std::string path = dir_.socket("hostile" + std::to_string(servers.size()));
    servers.push_back(std::make_unique<ScriptedServer>(path, reply));
    ledgers.push_back(open(config("unix://" + path)));
  }
  std::deque<TestAnswer> answers;
  for (const auto& ledger : ledgers) answers.emplace_back(loop_, *ledger);
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_FALSE(answers[i].is_leased()) << hostile[i];
    EXPECT_TRUE(comes_true([&] { return !ledgers[i]->fault().empty(); })) << hostile[i];
  }
}

TEST_F(RedisFaults, TheOwnerIsWarnedOfAServerThatCanLoseWhatWasUsed) {
  const auto warnings = [&](const std::string& url) {
    const auto found = redis_warnings(std::get<RedisAddress>(parse_redis_address(url)));
    return found.empty() ? std::string() : found.front();
  };
  EXPECT_NE(warnings("unix://" + dir_.socket("nobody")).find("No such file"), std::string::npos);
  start();
  EXPECT_NE(warnings(server_->url()).find("appendonly yes"), std::string::npos);
  server_->ask({"ACL", "SETUSER", "default", "-info"});
  EXPECT_NE(warnings(server_->url()).find("+info"), std::string::npos);
  server_->kill();
  start({"--appendonly", "yes"});
  EXPECT_EQ(warnings(server_->url()), "");
}

}  // namespace
}  // namespace bailian
