#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/event_loop.h"
#include "harness/deadline.h"
#include "harness/redis_server.h"
#include "harness/work_dir.h"
#include "ledger/redis_ledger.h"

namespace bailian {

// An event loop on a thread of its own, as visitors have them.
class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.run(); }) {}
  ~LoopThread() {
    loop_.stop();
    thread_.join();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EventLoop& loop() { return loop_; }
  // Runs it there and waits for its end.
  void call(const std::function<void()>& task) {
    std::promise<void> done;
    loop_.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }

 private:
  EventLoop loop_{std::chrono::nanoseconds(0)};
  std::thread thread_;
};

using e2e::comes_true;

// One question and its answer. Its members are used on the loop's thread, `end` on any.
class TestAnswer : public LeaseHandler {
 public:
  struct Taken {
    bool is_leased = false;
    std::optional<Refusal> refusal;
  };

  TestAnswer(LoopThread& thread, Ledger& ledger, std::string bot = "default",
             std::string visitor = "10.0.0.1", size_t question_bytes = 300)
      : thread_(thread) {
    thread_.call([&] {
      auto taken = ledger.take(thread_.loop(), {bot, visitor, question_bytes}, *this);
      if (auto* refusal = std::get_if<Refusal>(&taken)) return taken_.set_value({false, *refusal});
      lease_ = std::move(std::get<std::unique_ptr<Lease>>(taken));
      if (!lease_->is_pending()) taken_.set_value({true, {}});
    });
  }
  ~TestAnswer() override { end(); }
  TestAnswer(const TestAnswer&) = delete;
  TestAnswer& operator=(const TestAnswer&) = delete;

  // Waits for the end of take().
  const Taken& taken() {
    if (!seen_) {
      auto future = taken_.get_future();
      if (future.wait_for(e2e::Deadline::kPatience) != std::future_status::ready)
        throw std::runtime_error("the ledger has not decided");
      seen_ = future.get();
    }
    return *seen_;
  }
  bool is_leased() { return taken().is_leased; }

  // A frame with the usage so far. False: the answer has to end.
  bool settle(uint64_t input, uint64_t output) {
    bool may_go_on = false;
    thread_.call([&] { may_go_on = lease_->settle({input, output}); });
    return may_go_on;
  }
  bool settle_estimate(size_t bytes) {
    bool may_go_on = false;
    thread_.call([&] { may_go_on = lease_->settle_estimate(bytes); });
    return may_go_on;
  }
  bool is_paused() {
    bool is_paused = false;
    thread_.call([&] { is_paused = lease_->is_paused(); });
    return is_paused;
  }
  void next_attempt() {
    thread_.call([&] { lease_->start_next_attempt(); });
  }
  Refusal refusal() {
    std::optional<Refusal> refusal;
    thread_.call([&] { refusal = lease_->refusal(); });
    return *refusal;
  }
  void finish() {
    thread_.call([&] {
      lease_->finish();
      lease_.reset();
    });
  }
  void leave() {
    thread_.call([&] {
      lease_->abandon();
      lease_.reset();
    });
  }
  void end() {
    thread_.call([&] { lease_.reset(); });
  }

  void on_leased() override { taken_.set_value({true, {}}); }
  void on_lease_refused(const Refusal& refusal) override { taken_.set_value({false, refusal}); }

 private:
  LoopThread& thread_;
  std::promise<Taken> taken_;
  std::optional<Taken> seen_;
  std::unique_ptr<Lease> lease_;
};

// Ledgers on one server, which a test starts.
class RedisLedgers : public testing::Test {
 protected:
  static constexpr uint64_t kSlice = 512;

  Config config(const std::string& url = {}) const {
    Config config;
    config.ledger = url.empty() ? server_->url() : url;
    config.cap_expected_input = 100;
    config.ledger_slice = kSlice;
    return config;
  }
  Config with_day_cap(uint64_t tokens) const {
    Config capped = config();
    capped.caps.day = tokens;
    return capped;
  }
  void start(std::vector<std::string> options = {}) { server_.emplace(dir_, std::move(options)); }

  static std::unique_ptr<RedisLedger> open(const Config& config) {
    return std::make_unique<RedisLedger>(config, RedisLedger::Options{});
  }
  static std::unique_ptr<RedisLedger> join(const Config& config) {
    auto ledger = open(config);
    EXPECT_TRUE(comes_true([&] { return ledger->fault().empty(); })) << ledger->fault();
    return ledger;
  }
  // What the server has counted today; the fields are those of its script.
  uint64_t counted(const std::string& field) const {
    const std::string key =
        server_->ask({"--raw", "EVAL", "return redis.call('KEYS', '{bailian}:day:*')[1] or ''", "0"});
    const std::string value = server_->ask({"--raw", "HGET", key, field});
    return value.empty() ? 0 : std::stoull(value);
  }
  bool comes_to(const std::string& field, uint64_t value) const {
    return comes_true([&] { return counted(field) == value; });
  }

  e2e::WorkDir dir_;
  std::optional<e2e::RedisServer> server_;
  LoopThread loop_;
};

}  // namespace bailian
