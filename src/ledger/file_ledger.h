#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>

#include "ledger/bot_account.h"
#include "ledger/file_lease.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/period.h"
#include "ledger/table.h"

namespace bailian {

/// The ledger in a file of one host. A thread of its own begins the periods, closes the leases of dead
/// processes, writes the journal, and tries again what could not be opened.
class FileLedger final : public Ledger {
 public:
  /// Throws ConfigError for what is not a ledger, for a newer one, and for an unknown time zone. A file that
  /// cannot be used otherwise is a fault().
  explicit FileLedger(const Config& config);
  /// The leases must have been destroyed.
  ~FileLedger() override;

  void apply(const Config& config) override;
  std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop& loop, const Spending& spending,
                                                     LeaseHandler& handler) override;
  [[nodiscard]] std::optional<Refusal> closed(std::string_view bot) const override;
  [[nodiscard]] std::string fault() const override;
  void count_cached(std::string_view bot) noexcept override;
  void count_refused(std::string_view bot, Refusal::Cause cause) noexcept override;
  [[nodiscard]] LedgerReport report(int days) const override;
  void pause(std::string_view bot, std::string_view message, bool at_once) override;
  void resume(std::string_view bot) override;
  bool note_alert(std::string_view bot, std::string_view period, int percent) override;
  void open_period() override;

 private:
  void open_table();
  void attach_bots(const Table::Lock& lock, Table& table);
  void run();
  void work();
  void write_journal(Table& table);
  void report_fault(std::string& fault, const std::string& text);
  void set_pause(std::string_view bot, Pause pause, std::string_view message);

  [[nodiscard]] const MeteredBot* find(std::string_view name) const;
  [[nodiscard]] Table* table_for(const MeteredBot* bot) const;
  [[nodiscard]] bool serves_uncounted(const MeteredBot* bot) const;
  void count(std::string_view bot, Count DaySlot::*number) noexcept;

  const std::string path_;
  LeasePolicy policy_;
  std::atomic<bool> is_open_on_fault_{false};

  // Bots are added and never removed. The first is all together.
  std::unique_ptr<std::array<MeteredBot, kEntries>> bots_;
  std::atomic<size_t> bot_count_{1};

  mutable std::mutex settings_mutex_;  // for the bots as they are added, and the zone
  std::string timezone_;
  std::optional<TimeZone> zone_;

  std::unique_ptr<Table> owned_table_;
  std::atomic<Table*> table_{nullptr};
  Journal journal_;

  mutable std::mutex fault_mutex_;
  std::string fault_;
  std::string journal_fault_;

  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace bailian
