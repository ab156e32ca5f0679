#include "ledger/alerts.h"

#include <fmt/format.h>

#include <csignal>
#include <utility>

#include "base/log.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kInterval{1};
constexpr size_t kMaxCommands = 8;

bool is_reached(const CapState& cap, int percent) {
  const uint64_t limit = *cap.limit;
  return percent == 100 ? cap.used >= limit || cap.has_refused : cap.used >= limit - limit / 5;
}

std::string_view scope_of(const CapAlert& alert) { return alert.bot.empty() ? "total" : "bot"; }

void log_alert(const CapAlert& alert) {
  const std::string whose = alert.bot.empty() ? "all bots" : fmt::format("the bot {}", alert.bot);
  const std::string how_much = alert.percent < 100 ? fmt::format("{} % of the", alert.percent) : "the";
  log(LogLevel::kWarning, "cap_alert",
      fmt::format("{} tokens of {} for this {} are used{}", how_much, whose, alert.period,
                  alert.percent < 100 ? "" : ": questions are refused"),
      {{"scope", scope_of(alert)},
       {"bot", alert.bot},
       {"period", alert.period},
       {"percent", static_cast<double>(alert.percent)},
       {"used", static_cast<double>(alert.used)},
       {"limit", static_cast<double>(alert.limit)}});
}

std::vector<std::string> variables_of(const CapAlert& alert) {
  return {fmt::format("BAILIAN_CAP_SCOPE={}", scope_of(alert)),
          "BAILIAN_CAP_BOT=" + alert.bot,
          "BAILIAN_CAP_PERIOD=" + alert.period,
          fmt::format("BAILIAN_CAP_PERCENT={}", alert.percent),
          fmt::format("BAILIAN_CAP_USED={}", alert.used),
          fmt::format("BAILIAN_CAP_LIMIT={}", alert.limit)};
}

}  // namespace

std::vector<CapAlert> due_alerts(const LedgerReport& report) {
  std::vector<CapAlert> due;
  for (const BotReport& bot : report.bots) {
    for (const CapState& cap : bot.caps) {
      if (cap.scope == "visitor" || cap.limit.value_or(0) == 0) continue;
      for (const int percent : {80, 100}) {
        if (cap.alerted_percent < percent && is_reached(cap, percent))
          due.push_back({bot.bot, cap.period, percent, cap.used, *cap.limit});
      }
    }
  }
  return due;
}

Alerts::Alerts(Ledger& ledger, const Config& config)
    : ledger_(ledger), command_(config.cap_alert_command), thread_([this] { run(); }) {}

Alerts::~Alerts() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Alerts::apply(const Config& config) {
  std::string command = config.cap_alert_command;
  const std::lock_guard lock(mutex_);
  command_.swap(command);
}

void Alerts::run() noexcept {
  // Signals are for the loops.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kInterval, [this] { return ends_; })) {
    lock.unlock();
    try {
      look();
    } catch (const std::exception& error) {
      log(LogLevel::kError, "alerts_failed", error.what());
    }
    lock.lock();
  }
}

void Alerts::look() {
  commands_.look(Clock::now());
  if (ledger_.fault().empty()) {
    for (const CapAlert& alert : due_alerts(ledger_.report(1))) {
      if (!ledger_.note_alert(alert.bot, alert.period, alert.percent)) continue;
      log_alert(alert);
      waiting_.push_back(alert);
    }
  }
  std::string command;
  {
    const std::lock_guard lock(mutex_);
    command = command_;
  }
  for (; !waiting_.empty() && commands_.running() < kMaxCommands; waiting_.pop_front())
    commands_.start(command, variables_of(waiting_.front()), Clock::now());
}

}  // namespace bailian
