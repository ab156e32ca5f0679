#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ledger/alert_command.h"
#include "ledger/ledger.h"
#include "ledger/report.h"
#include "settings/config.h"

namespace bailian {

/// A cap of a bot, or of all bots, of which much is used.
struct CapAlert {
  std::string bot;     // empty: all
  std::string period;  // day or month
  int percent;         // 80 or 100; 100 also when a question was refused before
  uint64_t used;       // tokens, likewise
  uint64_t limit;
};

/// Those that the owner has not had yet. A cap of 0 is the owner's way to close a bot, and a visitor's cap is
/// the visitor's affair: they raise none.
std::vector<CapAlert> due_alerts(const LedgerReport& report);

/// Alerts the owner at 80 % and at 100 % of each cap, once in its period over all processes: by a log line
/// and CAP_ALERT_COMMAND, and by the mark in the ledger, which is a metric. Its thread looks at the ledger
/// once a second.
class Alerts {
 public:
  /// `ledger` must outlive it. Throws std::system_error.
  Alerts(Ledger& ledger, const Config& config);
  ~Alerts();
  Alerts(const Alerts&) = delete;
  Alerts& operator=(const Alerts&) = delete;

  /// Puts another CAP_ALERT_COMMAND into use. Any thread. Throws std::bad_alloc.
  void apply(const Config& config);

 private:
  void run() noexcept;
  void look();

  Ledger& ledger_;
  std::mutex mutex_;  // guards the two members below
  std::string command_;
  bool ends_ = false;
  std::condition_variable changed_;
  // The thread's.
  AlertCommands commands_;
  std::deque<CapAlert> waiting_;  // for a command, as too many run
  std::thread thread_;
};

}  // namespace bailian
