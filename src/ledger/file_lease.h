#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "ledger/bot_account.h"
#include "ledger/ledger.h"
#include "ledger/table.h"
#include "ledger/table_layout.h"

namespace bailian {

/// What leases obey; it may change while they are open.
struct LeasePolicy {
  Count slice{0};  // output tokens
  std::atomic<bool> is_abort_worst{false};
};

/// A lease in the table. The table, the bots and the policy must outlive it. A frame touches the first two of
/// its cache lines, and that of the table.
class alignas(64) FileLease final : public Lease {
 public:
  FileLease(Table& table, const MeteredBot& bot, const MeteredBot& all, const LeasePolicy& policy,
            size_t question_bytes);
  ~FileLease() override;
  FileLease(const FileLease&) = delete;
  FileLease& operator=(const FileLease&) = delete;

  /// Nothing: it is open. Called once. `idempotency_id` may be empty.
  std::optional<Refusal> open(std::string_view visitor, std::string_view idempotency_id);

  [[nodiscard]] bool is_pending() const noexcept override { return false; }
  [[nodiscard]] bool settle(const Usage& usage) noexcept override;
  [[nodiscard]] bool settle_estimate(size_t answer_bytes) noexcept override;
  [[nodiscard]] bool is_paused() const noexcept override;
  [[nodiscard]] Refusal refusal() const override;
  void start_next_attempt() noexcept override;
  void finish() noexcept override { is_finished_ = true; }
  void abandon() noexcept override { is_abandoned_ = true; }

 private:
  [[nodiscard]] bool take(const UsedTokens& used) noexcept;
  [[nodiscard]] uint64_t attempt_input() const { return account_.used().input - before_.input; }

  Table& table_;
  uint64_t at_once_pauses_;  // up to which the bot was not paused at once
  UsedTokens before_;        // of the attempts that have ended
  uint64_t last_input_ = 0;  // of the last of them with usage; 0: there was none
  bool is_finished_ = false;
  bool is_abandoned_ = false;
  bool has_visitor_ = false;
  LeaseAccount account_;
  const MeteredBot& bot_;
  const MeteredBot& all_;
  const LeasePolicy& policy_;
  const uint64_t question_tokens_;
  const uint64_t expected_input_;
  LeaseTag tag_;
};

/// A lease of a ledger that cannot be used, which lets every answer pass.
class UncountedLease final : public Lease {
 public:
  [[nodiscard]] bool is_pending() const noexcept override { return false; }
  [[nodiscard]] bool settle(const Usage&) noexcept override { return true; }
  [[nodiscard]] bool settle_estimate(size_t) noexcept override { return true; }
  [[nodiscard]] bool is_paused() const noexcept override { return false; }
  [[nodiscard]] Refusal refusal() const override { return {Refusal::Cause::kUnknown}; }
  void start_next_attempt() noexcept override {}
  void finish() noexcept override {}
  void abandon() noexcept override {}
};

}  // namespace bailian
