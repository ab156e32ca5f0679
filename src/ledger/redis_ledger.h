#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>

#include "ledger/ledger.h"
#include "ledger/redis_host.h"
#include "ledger/redis_shared.h"
#include "settings/redis_address.h"

namespace bailian {

/// A ledger that several hosts share, on a Redis server. A thread of its own talks with the server, over one
/// connection: loops hand it their questions and read what it knows, so that no loop waits for the network.
class RedisLedger final : public Ledger {
 public:
  struct Options {
    /// For commands: the constructor waits for the server, up to kConnectPatience, and report() asks it, and
    /// waits up to kPatience. Otherwise report() returns at once what was heard last, which is at most a
    /// second old: for loops.
    bool waits = false;
  };
  static constexpr std::chrono::seconds kPatience{5};
  static constexpr std::chrono::seconds kConnectPatience{3};
  static constexpr uint64_t kDefaultSlice = 4096;

  /// Connects in the background. A server that cannot be used is a fault(). Throws ConfigError,
  /// std::system_error and std::bad_alloc.
  RedisLedger(const Config& config, Options options);
  /// Sends what the server has not heard yet, for at most 2 s. The leases must have been destroyed.
  ~RedisLedger() override;

  void apply(const Config& config) override;
  std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop& loop, const Spending& spending,
                                                     LeaseHandler& handler) override;
  [[nodiscard]] std::optional<Refusal> closed(std::string_view bot) const override;
  [[nodiscard]] std::string fault() const override;
  void count_cached(std::string_view bot) noexcept override;
  void count_refused(std::string_view bot, Refusal::Cause cause) noexcept override;
  [[nodiscard]] LedgerReport report(int days) const override;
  /// These wait for the server, up to kPatience: they are not for loops.
  void pause(std::string_view bot, std::string_view message, bool at_once) override;
  void resume(std::string_view bot) override;
  void open_period() override;
  bool note_alert(std::string_view bot, std::string_view period, int percent) override;

  /// For leases.
  [[nodiscard]] Refusal refusal_of(RedisVerdict verdict, std::string_view bot) const;

 private:
  // With the mutex:
  [[nodiscard]] Refusal refusal_for(RedisVerdict verdict, std::string_view bot) const;
  [[nodiscard]] std::optional<Refusal> pause_of(std::string_view bot) const;
  [[nodiscard]] uint64_t added_input(std::string_view bot) const;
  RedisSlot& acquire_slot();
  // Without it:
  std::optional<bool> give_order(RedisBatch::Order order);
  void order_or_throw(RedisBatch::Order order);
  void await_news(int days) const;

  const RedisAddress address_;
  const Options options_;
  mutable RedisShared shared_;
  EventLoop loop_;
  RedisHost host_;
  std::thread thread_;
};

}  // namespace bailian
