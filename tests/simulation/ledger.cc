#include "simulation/ledger.h"

#include <utility>

#include "simulation/world.h"

namespace bailian::simulation {
namespace {

constexpr Refusal::Cause kCauses[] = {Refusal::Cause::kUsedUp, Refusal::Cause::kVisitorUsedUp,
                                      Refusal::Cause::kPaused, Refusal::Cause::kUnknown};

}  // namespace

class SimulatedLedger::Open final : public Lease {
 public:
  Open(SimulatedLedger& ledger, int number, LeaseHandler& handler, bool is_pending, uint64_t tokens)
      : ledger_(ledger), handler_(handler), number_(number), is_pending_(is_pending), tokens_(tokens) {
    const OutsideProduct outside;
    ledger_.open_.emplace(number, this);
  }
  ~Open() override {
    const OutsideProduct outside;
    ledger_.used_ += earlier_ + attempt_;
    ledger_.open_.erase(number_);
    world->trace("ledger: lease {} is given back, {} tokens", number_, earlier_ + attempt_);
  }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

  [[nodiscard]] bool is_pending() const noexcept override { return is_pending_; }
  [[nodiscard]] bool settle(const Usage& usage) noexcept override {
    note_use();
    attempt_ = usage.input_tokens + usage.output_tokens;
    return earlier_ + attempt_ <= tokens_ && !is_paused_;
  }
  [[nodiscard]] bool settle_estimate(size_t answer_bytes) noexcept override {
    note_use();
    return answer_bytes / 3 <= tokens_ && !is_paused_;
  }
  [[nodiscard]] bool is_paused() const noexcept override { return is_paused_; }
  [[nodiscard]] Refusal refusal() const override {
    if (is_paused_) return {Refusal::Cause::kPaused};
    return {Refusal::Cause::kUsedUp, 60s};
  }
  void start_next_attempt() noexcept override {
    note_use();
    earlier_ += std::exchange(attempt_, 0);
  }
  void finish() noexcept override { note_use(); }
  void abandon() noexcept override { note_use(); }

  void grant() { is_pending_ = false; }
  void pause() { is_paused_ = true; }
  [[nodiscard]] LeaseHandler& handler() const { return handler_; }

 private:
  void note_use() const {
    if (is_pending_) violated("a lease is used before it was given");
  }

  SimulatedLedger& ledger_;
  LeaseHandler& handler_;
  const int number_;
  bool is_pending_;
  bool is_paused_ = false;
  const uint64_t tokens_;
  uint64_t earlier_ = 0;  // tokens of attempts that have ended
  uint64_t attempt_ = 0;
};

// What the schedule chooses for a lease.
struct SimulatedLedger::Plan {
  bool is_refused = false;
  bool is_pending = false;
  bool is_paused_later = false;
  uint64_t tokens = 0;
};

SimulatedLedger::Plan SimulatedLedger::plan() {
  const OutsideProduct outside;
  Choices& choices = world->choices;
  enum Course { kGives, kGivesLater, kRefuses };
  static constexpr Course kCourses[] = {kGives,      kGives,      kGives,      kGives,  kGives,
                                        kGivesLater, kGivesLater, kGivesLater, kRefuses};
  static constexpr uint64_t kTokens[] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, 33, 36, 70'002};
  const Course course = choices.of(kCourses);
  return {course == kRefuses, course == kGivesLater, choices.one_in(16), choices.of(kTokens)};
}

Refusal SimulatedLedger::some_refusal() {
  const OutsideProduct outside;
  return {world->choices.of(kCauses), 60s};
}

std::variant<std::unique_ptr<Lease>, Refusal> SimulatedLedger::take(EventLoop& loop, const Spending&,
                                                                    LeaseHandler& handler) {
  const Plan chosen = plan();
  if (chosen.is_refused) return some_refusal();
  auto lease = std::make_unique<Open>(*this, ++taken_, handler, chosen.is_pending, chosen.tokens);
  if (chosen.is_pending) decide_later(loop, taken_);
  if (chosen.is_paused_later) pause_later(taken_);
  return lease;
}

// The owner pauses at once.
void SimulatedLedger::pause_later(int number) {
  const OutsideProduct outside;
  world->after(world->some_delay(), [this, number] {
    if (open_.contains(number)) open_.at(number)->pause();
  });
}

// As a reply of a server: at any time, in an iteration of the loop of its own.
void SimulatedLedger::decide_later(EventLoop& loop, int number) {
  const OutsideProduct outside;
  if (world->choices.one_in(16)) return;  // the server never replies
  world->after(world->some_delay(), [this, &loop, number] {
    if (!open_.contains(number)) return;
    loop.post([this, number] { decide(number); });
  });
}

void SimulatedLedger::decide(int number) {
  Open* lease = nullptr;
  bool is_granted = false;
  {
    const OutsideProduct outside;
    const auto found = open_.find(number);
    if (found == open_.end()) return;
    lease = found->second;
    is_granted = world->choices.below(4) < 3;
    world->trace("ledger: lease {} is {}", number, is_granted ? "given" : "refused");
    if (is_granted) lease->grant();
  }
  if (is_granted) return lease->handler().on_leased();
  lease->handler().on_lease_refused(some_refusal());
}

}  // namespace bailian::simulation
