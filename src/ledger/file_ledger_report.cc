// What the ledger of a file shows.
#include <algorithm>
#include <array>
#include <vector>

#include "ledger/file_ledger.h"
#include "settings/bots.h"

namespace bailian {
namespace {

/// The open leases of one bot.
struct OpenLeases {
  uint64_t count = 0;
  uint64_t leased_of_day = 0;
  uint64_t leased_of_month = 0;
  UsedTokens used_of_day;
  UsedTokens used_of_month;
};

uint64_t value(const Count& count) { return count.load(std::memory_order_acquire); }

void add(UsedTokens& sum, const UsedTokens& more) {
  sum.input += more.input;
  sum.output += more.output;
  sum.estimated += more.estimated;
}

void add(Spent& sum, const Spent& more) {
  sum.input_tokens += more.input_tokens;
  sum.output_tokens += more.output_tokens;
  sum.estimated_tokens += more.estimated_tokens;
  sum.answers += more.answers;
  sum.cached += more.cached;
  sum.refused += more.refused;
}

void add(Spent& sum, const UsedTokens& used) {
  sum.input_tokens += used.input;
  sum.output_tokens += used.output;
  sum.estimated_tokens += used.estimated;
}

Spent spent_of(const DaySlot& slot) {
  return {value(slot.input),  value(slot.output),  value(slot.estimated), value(slot.answers),
          value(slot.cached), value(slot.refused), std::nullopt};
}

std::vector<OpenLeases> open_leases(const Table& table) {
  std::vector<OpenLeases> leases(table.entries());
  table.for_each_lease([&](const LeaseTag& tag, uint64_t granted, const UsedTokens& used) {
    const uint64_t left = granted - std::min(granted, used.sum());
    for (const size_t entry : {tag.entry, size_t{0}}) {
      if (entry >= leases.size()) continue;
      OpenLeases& open = leases[entry];
      ++open.count;
      if (month_of(tag.day) == month_of(table.day())) {
        open.leased_of_month += left;
        add(open.used_of_month, used);
      }
      if (tag.day != table.day()) continue;
      open.leased_of_day += left;
      add(open.used_of_day, used);
    }
  });
  return leases;
}

CapState cap_state(const char* scope, const char* period, uint64_t cap, uint64_t committed, uint64_t leased,
                   uint64_t flags) {
  CapState state;
  state.scope = scope;
  state.period = period;
  if (cap != kNoCap) state.limit = cap;
  state.leased = std::min(leased, committed);
  state.used = committed - state.leased;
  state.has_refused = (flags & kRefused) != 0;
  state.alerted_percent = (flags & kAlerted100) != 0 ? 100 : (flags & kAlerted80) != 0 ? 80 : 0;
  return state;
}

std::optional<double> money_of(const MeteredBot* bot, const Spent& spent) {
  if (bot == nullptr) return std::nullopt;
  return money_of(spent, bot->price_input.load(), bot->price_output.load());
}

BotReport bot_report(const Table& table, size_t i, const MeteredBot* bot, const OpenLeases& open, int days) {
  BotReport report;
  Entry& entry = table.entry(i);
  report.bot = entry.name.get();
  report.open_leases = open.count;
  report.is_paused = (value(entry.pause) & 0xff) != 0;
  if (report.is_paused) report.pause_message = pause_message(entry);

  const Day today = table.day();
  for (Day day = today; day > today - static_cast<Day>(kDays) && day > 0; --day) {
    const DaySlot* const slot = Table::account(entry, day).day;
    if (slot == nullptr) continue;
    Spent spent = spent_of(*slot);
    if (day == today) add(spent, open.used_of_day);
    spent.money = money_of(bot, spent);
    if (month_of(day) == month_of(today)) add(report.month, spent);
    if (day > today - days && !spent.is_nothing()) report.days.push_back({date_text(day), spent});
  }
  // Those of today are in it already.
  UsedTokens earlier = open.used_of_month;
  earlier.input -= open.used_of_day.input;
  earlier.output -= open.used_of_day.output;
  earlier.estimated -= open.used_of_day.estimated;
  add(report.month, earlier);
  report.month.money = money_of(bot, report.month);

  const Account account = Table::account(entry, today);
  const uint64_t day_flags = Table::flags(entry.day_flags, today);
  const char* const scope = i == 0 ? "total" : "bot";
  report.caps.push_back(cap_state(scope, "day", bot != nullptr ? value(bot->day_cap) : kNoCap,
                                  account.day != nullptr ? value(account.day->committed) : 0,
                                  open.leased_of_day, day_flags));
  report.caps.push_back(cap_state(scope, "month", bot != nullptr ? value(bot->month_cap) : kNoCap,
                                  account.month != nullptr ? value(account.month->committed) : 0,
                                  open.leased_of_month, Table::flags(entry.month_flags, month_of(today))));
  if (bot != nullptr && value(bot->visitor_day_cap) != kNoCap) {
    CapState state = cap_state("visitor", "day", value(bot->visitor_day_cap), 0, 0, 0);
    state.has_refused = (day_flags & kVisitorRefused) != 0;
    report.caps.push_back(state);
  }
  return report;
}

}  // namespace

LedgerReport FileLedger::report(int days) const {
  LedgerReport report;
  report.storage = path_;
  {
    const std::scoped_lock locked(fault_mutex_);
    report.fault = fault_.empty() ? journal_fault_ : fault_;
  }
  {
    const std::scoped_lock locked(settings_mutex_);
    report.timezone = timezone_;
  }
  const Table* const table = table_.load(std::memory_order_acquire);
  if (table == nullptr) return report;
  report.day = date_text(table->day());
  report.month = month_text(month_of(table->day()));
  const std::vector<OpenLeases> leases = open_leases(*table);
  for (size_t i = 0; i < leases.size(); ++i) {
    const std::string name = table->entry(i).name.get();
    if (i > 0 && !is_bot_name(name)) continue;
    const MeteredBot* const bot = i == 0 ? &bots_->front() : find(name);
    const bool is_configured = bot != nullptr && bot->is_configured;
    BotReport of_bot = bot_report(*table, i, is_configured ? bot : nullptr, leases[i], days);
    if (!is_configured && of_bot.days.empty() && of_bot.month.is_nothing()) continue;
    report.bots.push_back(std::move(of_bot));
  }
  add_money_of_bots(report);
  return report;
}

}  // namespace bailian
