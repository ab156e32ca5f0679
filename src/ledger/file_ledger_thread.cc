// The thread of the ledger.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <exception>
#include <system_error>

#include "base/log.h"
#include "ledger/file_ledger.h"

namespace bailian {
namespace {

void log_jump(const ClockChange& change) {
  if (change.jump_seconds <= 0) return;
  log(LogLevel::kWarning, "ledger",
      "the clock jumped forward: a new period begins when this has held for ten minutes",
      {{"seconds", static_cast<double>(change.jump_seconds)}});
}

}  // namespace

void FileLedger::open_table() {
  auto table = std::make_unique<Table>(path_);
  {
    const std::scoped_lock locked(settings_mutex_);
    const auto lock = table->lock();
    const Table::Recovered recovered = table->sweep(lock);
    if (table->is_alone(lock)) table->reconcile(lock, Journal::read(path_ + ".journal").contents);
    if (recovered.leases > 0) {
      log(LogLevel::kWarning, "ledger", "answers of a process that has died count as used",
          {{"answers", static_cast<double>(recovered.leases)},
           {"tokens", static_cast<double>(recovered.tokens)}});
    }
    log_jump(table->advance(lock, read_clocks(), *zone_));
    attach_bots(lock, *table);
  }
  owned_table_ = std::move(table);
  table_.store(owned_table_.get(), std::memory_order_release);
}

void FileLedger::run() {
  sigset_t every;
  ::sigfillset(&every);
  ::pthread_sigmask(SIG_SETMASK, &every, nullptr);  // signals are for the loops
  for (bool is_last = false; !is_last;) {
    {
      std::unique_lock locked(stop_mutex_);
      is_last = stop_.wait_for(locked, std::chrono::seconds(1), [this] { return is_stopping_; });
    }
    try {
      work();
    } catch (const std::exception& error) {
      log(LogLevel::kError, "ledger", error.what());
    }
  }
}

void FileLedger::work() {
  Table* table = table_.load();
  if (table == nullptr) {
    try {
      open_table();
    } catch (const std::system_error& error) {
      return report_fault(fault_, error.what());
    } catch (const NotALedger& error) {
      return report_fault(fault_, error.what());
    }
    report_fault(fault_, "");
    table = table_.load();
  }
  {
    const std::scoped_lock locked(settings_mutex_);
    if (const auto lock = table->try_lock()) {
      attach_bots(*lock, *table);
      log_jump(table->advance(*lock, read_clocks(), *zone_));
      const Table::Recovered recovered = table->sweep(*lock);
      if (recovered.leases > 0) {
        log(LogLevel::kWarning, "ledger", "answers of a process that has died count as used",
            {{"answers", static_cast<double>(recovered.leases)},
             {"tokens", static_cast<double>(recovered.tokens)}});
      }
    }
  }
  if (table->is_journal_writer()) write_journal(*table);
}

// The day before too: its last answers may still be open.
void FileLedger::write_journal(Table& table) {
  const Day day = table.day();
  JournalContents settled = table.settled(day);
  settled.totals.merge(table.settled(day - 1).totals);
  try {
    journal_.write(settled);
    report_fault(journal_fault_, "");
  } catch (const std::runtime_error& error) {
    report_fault(journal_fault_, error.what());
  }
}

}  // namespace bailian
