#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>

#include "ledger/ledger.h"

namespace bailian {

// Reports what it is given, and remembers alerts. It has no lease for anybody.
class FakeLedger final : public Ledger {
 public:
  void apply(const Config&) override {}
  std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop&, const Spending&, LeaseHandler&) override {
    return Refusal{Refusal::Cause::kUsedUp};
  }
  [[nodiscard]] std::optional<Refusal> closed(std::string_view) const override { return {}; }
  [[nodiscard]] std::string fault() const override { return shown().fault; }
  void count_cached(std::string_view) noexcept override {}
  void count_refused(std::string_view, Refusal::Cause) noexcept override {}
  [[nodiscard]] LedgerReport report(int) const override { return shown(); }
  void pause(std::string_view, std::string_view, bool) override {}
  void resume(std::string_view) override {}
  bool note_alert(std::string_view bot, std::string_view period, int percent) override {
    const std::lock_guard lock(mutex_);
    return alerts_.insert(std::string(bot) + " " + std::string(period) + " " + std::to_string(percent))
        .second;
  }
  void open_period() override {}

  void show(LedgerReport report) {
    const std::lock_guard lock(mutex_);
    report_ = std::move(report);
  }
  // "BOT PERIOD PERCENT"
  [[nodiscard]] std::set<std::string> alerts() const {
    const std::lock_guard lock(mutex_);
    return alerts_;
  }

 private:
  LedgerReport shown() const {
    const std::lock_guard lock(mutex_);
    return report_;
  }

  mutable std::mutex mutex_;
  LedgerReport report_;
  std::set<std::string> alerts_;
};

}  // namespace bailian
