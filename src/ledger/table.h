#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "ledger/journal_text.h"
#include "ledger/period.h"
#include "ledger/table_layout.h"

namespace bailian {

/// A file that is not a ledger, or one of a newer version. It has not been changed.
class NotALedger : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where one bot's tokens of one day are counted, or those of all together.
struct Account {
  DaySlot* day = nullptr;
  MonthSlot* month = nullptr;
};

/// The ledger's file, shared by all threads and processes that have it open: who has used how much, and the
/// open leases. Any thread may use it, except where a TableLock is asked for.
class Table {
 public:
  class Lock;

  /// Opens the file or creates it. Throws NotALedger, and std::system_error if it cannot be used now.
  explicit Table(const std::string& path);
  /// The leases must have been closed.
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// Waits up to 2 s for others. Throws std::system_error.
  [[nodiscard]] Lock lock();
  /// Nothing: another thread or process has it.
  [[nodiscard]] std::optional<Lock> try_lock();

  // --- bots

  [[nodiscard]] size_t entries() const;
  [[nodiscard]] Entry& entry(size_t i) const { return layout_->entries[i]; }
  [[nodiscard]] Entry& all() const { return entry(0); }
  [[nodiscard]] Entry* find(std::string_view name) const;
  /// nullptr: the table is full.
  Entry* find_or_add(const Lock&, std::string_view name);
  [[nodiscard]] size_t index_of(const Entry& entry) const {
    return static_cast<size_t>(&entry - layout_->entries.data());
  }

  void pause(const Lock&, Entry& entry, Pause pause, std::string_view message);
  [[nodiscard]] Count& at_once_pauses() const { return layout_->header.at_once_pauses; }

  // --- periods

  [[nodiscard]] Day day() const {
    return static_cast<Day>(layout_->header.day.load(std::memory_order_acquire));
  }
  [[nodiscard]] PeriodClock clock() const;
  ClockChange advance(const Lock&, const ClockReading& now, const TimeZone& zone);
  void open_period(const Lock&, const ClockReading& now, const TimeZone& zone);

  /// Null pointers for a day that is not kept.
  [[nodiscard]] static Account account(Entry& entry, Day day);
  [[nodiscard]] VisitorTable& visitors(Day day) const { return layout_->visitors[day & 1]; }

  /// Sets the flags for the period. False: they all were set.
  static bool set_flags(Count& word, int64_t period, uint64_t flags);
  [[nodiscard]] static uint64_t flags(const Count& word, int64_t period);

  // --- leases

  /// A free slot; nullptr: all are in use.
  [[nodiscard]] LeaseSlot* acquire_slot();
  void release_slot(LeaseSlot& slot) noexcept;
  /// Adds used tokens to the counts of the bot and of all.
  void count(const LeaseTag& tag, const UsedTokens& used, bool is_answer) noexcept;
  /// Calls `visit` with each open lease of all processes: whose it is, what it was granted and what it has
  /// used.
  using LeaseVisitor = std::function<void(const LeaseTag&, uint64_t granted, const UsedTokens&)>;
  void for_each_lease(const LeaseVisitor& visit) const;

  // --- processes

  struct Recovered {
    size_t leases = 0;
    uint64_t tokens = 0;  // that were granted to them
  };
  /// Closes the leases of processes that have died.
  Recovered sweep(const Lock&);
  /// Whether no other process has the ledger open.
  [[nodiscard]] bool is_alone(const Lock&);
  /// After sweep(), when it is alone: takes over what the journal has more of, and counts as estimated what
  /// was committed and never settled.
  void reconcile(const Lock&, const JournalContents& journal);
  /// Whether another process that is alive has an open lease with this Idempotency-Key. Of two processes that
  /// open one with the same key at the same time and then ask, at least one is told so.
  [[nodiscard]] bool is_under_way_elsewhere(std::string_view idempotency_id) const;
  /// Whether this process is, or has just become, the one that writes the journal.
  [[nodiscard]] bool is_journal_writer();

  /// What was used on the day, by bot, with the tokens of open answers as far as the upstream has counted
  /// them. Never more than is true, whatever others do meanwhile.
  [[nodiscard]] JournalContents settled(Day day) const;

 private:
  void map_file();
  void create_or_check();
  void join();
  void store_clock(const PeriodClock& clock);
  static void prepare_day(Entry& entry, Day day);
  static void prepare_month(Entry& entry, Month month);
  void begin_day(const PeriodClock& clock);
  Recovered close_leases_of(uint64_t owner);
  void raise(const Lock& lock, const JournalContents& journal);
  bool acquire_chunk();
  [[nodiscard]] bool owns_any_chunk(uint64_t owner) const;

  const std::string path_;
  UniqueFd fd_;
  TableLayout* layout_ = nullptr;
  std::mutex mutex_;        // with the lock on the file
  uint64_t process_ = 0;    // from 1
  bool is_writer_ = false;  // the ledger's thread only
  std::mutex chunk_mutex_;
  std::atomic<uint64_t> free_slots_{0};  // a stack: how often it was changed, and one more than the first
};

/// The right to change what is more than a counter. It is one thread's of one process.
class Table::Lock {
 public:
  ~Lock();
  Lock(Lock&& other) noexcept = default;
  Lock& operator=(Lock&&) = delete;

 private:
  friend class Table;
  Lock(std::unique_lock<std::mutex> mutex, int fd) : mutex_(std::move(mutex)), fd_(fd) {}
  std::unique_lock<std::mutex> mutex_;
  int fd_;
};

}  // namespace bailian
