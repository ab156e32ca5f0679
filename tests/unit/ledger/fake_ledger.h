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
  [[nodiscard]] std::string fault() const override {
    const std::lock_guard lock(mutex_);
    ++faults_asked_;
    return report_.fault;
  }
  void count_cached(std::string_view) noexcept override {}
  void count_refused(std::string_view, Refusal::Cause) noexcept override {}
  [[nodiscard]] LedgerReport report(int) const override {
    const std::lock_guard lock(mutex_);
    return report_;
  }
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
  // How often somebody has looked whether it has a fault.
  [[nodiscard]] int faults_asked() const {
    const std::lock_guard lock(mutex_);
    return faults_asked_;
  }

 private:
  mutable std::mutex mutex_;
  mutable int faults_asked_ = 0;
  LedgerReport report_;
  std::set<std::string> alerts_;
};

}  // namespace bailian
