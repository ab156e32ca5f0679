#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "ledger/ledger.h"

namespace bailian {

/// A ledger that decides as the test says and records in short form what it is told. `used` adds up as a
/// real one would.
class ScriptedLedger final : public Ledger {
 public:
  std::string log;
  std::optional<Refusal> refusal;      // of take()
  bool is_pending = false;             // the leases that it gives
  uint64_t lease_tokens = UINT64_MAX;  // more than this is not granted
  bool is_paused = false;              // at once
  Refusal when_used_up{Refusal::Cause::kUsedUp, std::chrono::seconds(60)};
  std::optional<Refusal> closed_by;
  std::string its_fault;
  uint64_t used = 0;
  int open_leases = 0;
  size_t question_bytes = 0;   // of the latest take()
  std::string visitor;         // likewise
  std::string idempotency_id;  // likewise

  /// Ends the waiting of the latest lease.
  void grant() {
    lease_->is_waiting = false;
    handler_->on_leased();
  }
  void refuse(const Refusal& why) { handler_->on_lease_refused(why); }

  void apply(const Config&) override { log += "apply;"; }
  std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop&, const Spending& spending,
                                                     LeaseHandler& handler) override {
    question_bytes = spending.question_bytes;
    visitor = spending.visitor;
    idempotency_id = spending.idempotency_id;
    log += "take;";
    if (refusal) return *refusal;
    auto lease = std::make_unique<ScriptedLease>(*this);
    lease_ = lease.get();
    handler_ = &handler;
    return lease;
  }
  [[nodiscard]] std::optional<Refusal> closed(std::string_view) const override { return closed_by; }
  [[nodiscard]] std::string fault() const override { return its_fault; }
  void count_cached(std::string_view) noexcept override { log += "cached;"; }
  void count_refused(std::string_view, Refusal::Cause) noexcept override { log += "refused;"; }
  [[nodiscard]] LedgerReport report(int) const override { return {}; }
  void pause(std::string_view, std::string_view, bool) override {}
  void resume(std::string_view) override {}
  bool note_alert(std::string_view, std::string_view, int) override { return false; }
  void open_period() override {}

 private:
  struct ScriptedLease final : Lease {
    explicit ScriptedLease(ScriptedLedger& owner) : ledger(owner), is_waiting(owner.is_pending) {
      ++ledger.open_leases;
    }
    ~ScriptedLease() override {
      --ledger.open_leases;
      ledger.used += earlier + attempt;
      ledger.log += "free;";
    }
    [[nodiscard]] bool is_pending() const noexcept override { return is_waiting; }
    bool settle(const Usage& usage) noexcept override {
      ledger.log += std::to_string(usage.input_tokens) + "+" + std::to_string(usage.output_tokens) + ";";
      attempt = usage.input_tokens + usage.output_tokens;
      return earlier + attempt <= ledger.lease_tokens;
    }
    bool settle_estimate(size_t answer_bytes) noexcept override {
      ledger.log += "~" + std::to_string(answer_bytes) + ";";
      attempt = answer_bytes / 3;
      return earlier + attempt <= ledger.lease_tokens;
    }
    [[nodiscard]] bool is_paused() const noexcept override { return ledger.is_paused; }
    [[nodiscard]] Refusal refusal() const override {
      return ledger.is_paused ? Refusal{Refusal::Cause::kPaused, {}, "later"} : ledger.when_used_up;
    }
    void start_next_attempt() noexcept override {
      ledger.log += "next;";
      earlier += std::exchange(attempt, 0);
    }
    void finish() noexcept override { ledger.log += "finish;"; }
    void abandon() noexcept override { ledger.log += "abandon;"; }

    ScriptedLedger& ledger;
    bool is_waiting;
    uint64_t earlier = 0;  // tokens of attempts that have ended
    uint64_t attempt = 0;
  };

  ScriptedLease* lease_ = nullptr;  // the latest
  LeaseHandler* handler_ = nullptr;
};

}  // namespace bailian
