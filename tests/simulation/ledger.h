#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "ledger/ledger.h"

namespace bailian::simulation {

/// The ledger of a schedule. Gives leases at once, later or not at all, some of them small ones, and records
/// what is settled.
class SimulatedLedger final : public Ledger {
 public:
  /// Tokens that were settled, without estimates.
  [[nodiscard]] uint64_t used() const { return used_; }
  [[nodiscard]] size_t open_leases() const { return open_.size(); }

  void apply(const Config&) override {}
  std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop& loop, const Spending& spending,
                                                     LeaseHandler& handler) override;
  [[nodiscard]] std::optional<Refusal> closed(std::string_view) const override { return std::nullopt; }
  [[nodiscard]] std::string fault() const override { return {}; }
  void count_cached(std::string_view) noexcept override {}
  void count_refused(std::string_view, Refusal::Cause) noexcept override {}
  [[nodiscard]] LedgerReport report(int) const override { return {}; }
  void pause(std::string_view, std::string_view, bool) override {}
  void resume(std::string_view) override {}
  bool note_alert(std::string_view, std::string_view, int) override { return false; }
  void open_period() override {}

 private:
  class Open;
  struct Plan;

  static Plan plan();
  static Refusal some_refusal();

  void pause_later(int number);
  void decide_later(EventLoop& loop, int number);
  void decide(int number);

  int taken_ = 0;
  uint64_t used_ = 0;
  std::map<int, Open*> open_;  // by number
};

}  // namespace bailian::simulation
