#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "ledger/ledger.h"
#include "ledger/redis_shared.h"

namespace bailian {

class RedisLedger;

/// A lease of the server. Its slot is settled by the ledger's thread, once a second and when the lease ends.
/// It wakes that thread when it is used up, which is the only system call.
class RedisLease final : public Lease {
 public:
  /// `slot` is the lease's own, until its destruction.
  RedisLease(const RedisLedger& ledger, RedisShared& shared, RedisSlot& slot, LeaseHandler& handler,
             bool is_pending, uint64_t question_tokens);
  ~RedisLease() override;
  RedisLease(const RedisLease&) = delete;
  RedisLease& operator=(const RedisLease&) = delete;

  [[nodiscard]] bool is_pending() const noexcept override { return is_pending_; }
  [[nodiscard]] bool settle(const Usage& usage) noexcept override;
  [[nodiscard]] bool settle_estimate(size_t answer_bytes) noexcept override;
  [[nodiscard]] bool is_paused() const noexcept override {
    return slot_.verdict.load(std::memory_order_relaxed) == RedisVerdict::kPaused;
  }
  [[nodiscard]] Refusal refusal() const override;
  void start_next_attempt() noexcept override;
  void finish() noexcept override { slot_.is_answer.store(true, std::memory_order_relaxed); }
  void abandon() noexcept override { slot_.is_abandoned.store(true, std::memory_order_relaxed); }

  /// The ledger's thread has decided about the pending lease.
  void on_decided();

 private:
  [[nodiscard]] bool settle() noexcept;

  const RedisLedger& ledger_;
  RedisShared& shared_;
  RedisSlot& slot_;
  LeaseHandler& handler_;
  bool is_pending_;
  const uint64_t question_tokens_;
  UsedTokens before_;   // of the attempts that have ended
  UsedTokens attempt_;  // of the one under way
  uint64_t last_input_ = 0;
  bool has_asked_ = false;  // for more, since it was used up
};

}  // namespace bailian
