#include "simulation/schedule.h"

#include <memory>
#include <optional>
#include <vector>

#include "service/worker.h"
#include "simulation/coverage.h"
#include "simulation/judge.h"
#include "simulation/ledger.h"
#include "simulation/loop.h"
#include "simulation/upstream.h"
#include "simulation/visitor.h"
#include "simulation/world.h"

namespace bailian::simulation {
namespace {

Config some_settings(const Config& base, Choices& choices) {
  static constexpr double kHeartbeats[] = {15, 15, 0.3, 0, 1};
  static constexpr int kRetries[] = {1, 1, 0, 3, 6};
  static constexpr double kTimeouts[] = {300, 300, 2, 20};
  static constexpr double kFirstTokens[] = {60, 60, 1, 10};
  static constexpr double kIdles[] = {60, 60, 0.5, 5};
  static constexpr double kConnects[] = {10, 10, 1, 30};
  static constexpr size_t kBuffers[] = {262'144, 262'144, 800, 16'384};
  static constexpr double kStalls[] = {60, 60, 2};
  static constexpr int kStreams[] = {10'000, 10'000, 1, 2};
  static constexpr double kCoalesce[] = {0.5, 0.5, 0, 20};
  static constexpr double kDrains[] = {60, 60, 0, 5};
  Config config = base;
  config.heartbeat = Seconds(choices.of(kHeartbeats));
  config.upstream_retries = choices.of(kRetries);
  config.timeout = Seconds(choices.of(kTimeouts));
  config.first_token_timeout = Seconds(choices.of(kFirstTokens));
  config.idle_timeout = Seconds(choices.of(kIdles));
  config.connect_timeout = Seconds(choices.of(kConnects));
  config.client_buffer_bytes = choices.of(kBuffers);
  config.client_stall_timeout = Seconds(choices.of(kStalls));
  config.max_streams = choices.of(kStreams);
  config.token_coalesce = Milliseconds(choices.of(kCoalesce));
  config.drain_timeout = Seconds(choices.of(kDrains));
  static constexpr int kTargets[] = {1, 1, 2, 2, 3};
  const int targets = choices.of(kTargets);
  config.warm_up = targets == 1 && !choices.one_in(8);  // the judge counts those of one target
  Config shop = config;
  shop.name = kOtherBot;
  shop.targets.front().app_id = kOtherApp;
  shop.max_streams = 0;
  for (Config* const bot : {&config, &shop}) {
    for (int number = 2; number <= targets; ++number) {
      Target& target = bot->targets.emplace_back(bot->targets.front());
      target.number = number;
      target.app_id += std::to_string(number);
    }
  }
  config.bots.push_back(std::move(shop));
  return config;
}

/// The product, its visitors, and the disturbances: reloads, drains, stops, failures. Stands in for
/// service/server.cc, which handles processes and signals.
class Schedule final : public Site, private LoopObserver {
 public:
  Schedule(Choices& choices, const Config& base) : base_(base), settings_(some_settings(base, choices)) {
    auto listening = std::make_unique<ListeningSocket>();
    listening_ = listening.get();
    descriptor_ = world->open(std::move(listening));
    listening_->watchers = 0;
    record->has_ledger = choices.below(2) == 1;
    if (choices.one_in(8)) plan_allocation_failures();
    {
      const InsideProduct inside;
      state_ = std::make_unique<ServiceState>(settings_);
      if (record->has_ledger) state_->ledger = &ledger_;
      worker_ = std::make_unique<Worker>(settings_, *state_, connections_, descriptor_);
    }
    judge_ = std::make_unique<Judge>(*state_, record->has_ledger ? &ledger_ : nullptr);
    record->warm_up().may_begin = settings_.warm_up;
    observe_loop(this);
    observe_chats(worker_.get());
    plan_visitors();
    plan_disturbances();
  }

  ~Schedule() override {
    observe_loop(nullptr);
    observe_chats(nullptr);
  }

  int run() {
    worker_->loop().run();
    is_over_ = true;
    {
      const InsideProduct inside;
      worker_.reset();
    }
    for (const auto& visitor : visitors_) visitor->turn_away();
    judge_->check_end();
    {
      const InsideProduct inside;
      state_.reset();
    }
    world->close(descriptor_);
    if (world->open_descriptors() > 0)
      violated(fmt::format("{} descriptors stay open", world->open_descriptors()));
    return static_cast<int>(record->questions().size());
  }

  // --- for the visitors ---

  bool connect(std::unique_ptr<Socket> socket) override {
    if (is_over_ || serves_no_new_) return false;
    listening_->connect(std::move(socket));
    return true;
  }
  [[nodiscard]] const Config& settings() const override { return settings_; }
  [[nodiscard]] bool is_disturbed() const override {
    return is_over_ || is_draining_ || has_few_descriptors_ || has_allocation_failed();
  }
  [[nodiscard]] std::optional<Time> draining_since() const override { return draining_since_; }
  [[nodiscard]] bool is_stopping() const override { return is_stopping_; }
  void on_visitor_over() override {
    for (const auto& visitor : visitors_) {
      if (!visitor->is_over()) return;
    }
    world->after(0s, [this] { drain(); });
  }

 private:
  void plan_allocation_failures() {
    static constexpr uint64_t kCounts[] = {1, 1, 2, 20, 1'000'000};
    const uint64_t count = world->choices.of(kCounts);
    world->after(world->choices.one_in(2) ? 0s : world->some_delay(), [count] {
      const uint64_t first = 1 + world->choices.below(400);
      world->trace("machine: starting with allocation {}, {} fail", first, count);
      fail_allocations(first, count);
      if (count > 100) world->after(world->some_delay(), [] { stop_allocation_failures(); });
    });
  }

  void plan_visitors() {
    static constexpr uint32_t kVisitors[] = {1, 1, 1, 1, 2, 2, 4};
    const uint32_t count = world->choices.of(kVisitors);
    for (uint32_t i = 0; i < count; ++i) {
      visitors_.push_back(std::make_unique<Visitor>(*this, static_cast<int>(i)));
      visitors_.back()->begin();
    }
  }

  void plan_disturbances() {
    Choices& choices = world->choices;
    if (choices.one_in(10)) world->after(world->some_delay(), [this] { reload(); });
    if (choices.one_in(10)) world->after(world->some_delay(), [this] { drain(); });
    if (choices.one_in(20)) world->after(world->some_delay(), [this] { stop(); });
    if (choices.one_in(16)) world->after(world->some_delay(), [this] { limit_descriptors(); });
  }

  void limit_descriptors() {
    has_few_descriptors_ = true;
    world->trace("machine: few descriptors are left");
    world->limit_descriptors(world->choices.below(3));
    world->after(5s, [] { world->lift_descriptor_limit(); });
  }

  void post(std::function<void()> task) {
    const InsideProduct inside;
    worker_->loop().post(std::move(task));
  }

  void reload() {
    if (is_draining_) return;
    Config config = some_settings(base_, world->choices);
    config.max_streams = settings_.max_streams;  // both need a restart
    config.token_coalesce = settings_.token_coalesce;
    world->trace("machine: SIGHUP");
    settings_for_next_ = config;
    state_->targets.forget();
    post([this] {
      worker_->reload(settings_for_next_);
      const OutsideProduct outside;
      settings_ = settings_for_next_;
      record->warm_up().may_begin = settings_.warm_up;
      record->warm_up().last_begin.reset();
    });
  }

  // Like Server::start_draining().
  void drain() {
    if (is_draining_ || is_over_) return;
    is_draining_ = true;
    const bool is_shared = world->choices.below(2) == 0;
    world->trace("machine: {}", is_shared ? "a successor takes over" : "SIGTERM");
    state_->draining = true;
    state_->refusing = !is_shared;
    serves_no_new_ = is_shared;
    draining_since_ = world->now();
    post([this, is_shared] {
      record->warm_up().may_begin = false;
      worker_->drain(is_shared, [this] { post([this] { stop(); }); });
    });
    world->after(to_duration(settings_.drain_timeout), [this] { stop(); });
  }

  void stop() {
    if (is_stop_posted_ || is_over_) return;
    is_stop_posted_ = true;
    post([this] { mark_stopped(); });
    const InsideProduct inside;
    worker_->request_stop();
  }

  void mark_stopped() {
    const OutsideProduct outside;
    world->trace("machine: the product stops");
    is_stopping_ = true;
    for (Question& question : record->questions()) {
      if (question.lines.empty()) question.stopped_at = world->now();
    }
  }

  void on_iteration_end() override {
    judge_->check_iteration();
    for (const auto& visitor : visitors_) visitor->check_limits();
  }

  const Config& base_;
  Config settings_;
  Config settings_for_next_;
  ListeningSocket* listening_ = nullptr;
  int descriptor_ = -1;
  ConnectionCount connections_{SIZE_MAX};
  SimulatedLedger ledger_;
  std::unique_ptr<ServiceState> state_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Judge> judge_;
  std::vector<std::unique_ptr<Visitor>> visitors_;
  bool is_draining_ = false;
  std::optional<Time> draining_since_;
  bool serves_no_new_ = false;
  bool is_stop_posted_ = false;
  bool is_stopping_ = false;
  bool is_over_ = false;
  bool has_few_descriptors_ = false;
};

}  // namespace

int run_schedule(Choices& choices, const Config& base, bool is_traced) {
  World the_world(choices, is_traced);
  Record the_record;
  Upstream the_upstream;
  record = &the_record;
  upstream = &the_upstream;
  fail_allocations(0, 0);
  const size_t before = allocated().bytes;
  reset_peak();
  const int chats = Schedule(choices, base).run();
  if (allocated().bytes != before)
    note_leak(static_cast<long>(allocated().bytes) - static_cast<long>(before));
  return chats;
}

Config base_settings() {
  return load_config({"DASHSCOPE_API_KEY=" + std::string(kApiKey), "APP_ID=app",
                      "DASHSCOPE_BASE_URL=http://127.0.0.1:9/api/v1"},
                     "/dev/null")
      .config;
}

}  // namespace bailian::simulation
