// What the ledger of a server shows.
#include <algorithm>
#include <optional>

#include "ledger/redis_ledger.h"

namespace bailian {
namespace {

std::optional<double> money_of(const RedisBot& bot, const Spent& spent) {
  return money_of(spent, bot.price_input, bot.price_output);
}

CapState cap_state(const char* scope, const char* period, const std::optional<uint64_t>& limit,
                   const RedisTotals::Period& totals) {
  CapState state;
  state.scope = scope;
  state.period = period;
  state.limit = limit;
  state.leased = std::min(totals.leased, totals.committed);
  state.used = totals.committed - state.leased;
  state.has_refused = totals.has_refused;
  state.alerted_percent = totals.alerted_percent;
  return state;
}

BotReport bot_report(const RedisView& view, const std::string& name, const RedisTotals& totals,
                     const RedisBot& bot, int days) {
  BotReport report;
  report.bot = name;
  const auto add_day = [&](Day day, Spent spent) {
    if (spent.is_nothing()) return;
    spent.money = money_of(bot, spent);
    report.days.push_back({date_text(day), spent});
  };
  if (days > 0) add_day(view.day, totals.day.spent);
  for (auto day = view.history.rbegin(); day != view.history.rend(); ++day) {
    const auto spent = day->second.find(name);
    if (day->first < view.day && day->first > view.day - days && spent != day->second.end())
      add_day(day->first, spent->second);
  }
  report.month = totals.month.spent;
  report.month.money = money_of(bot, report.month);
  const char* const scope = name.empty() ? "total" : "bot";
  report.caps.push_back(cap_state(scope, "day", bot.caps.day, totals.day));
  report.caps.push_back(cap_state(scope, "month", bot.caps.month, totals.month));
  if (bot.caps.visitor_day) {
    CapState state = cap_state("visitor", "day", bot.caps.visitor_day, {});
    state.has_refused = totals.day.has_refused_visitor;
    report.caps.push_back(state);
  }
  report.open_leases = totals.open_leases;
  report.is_paused = totals.is_paused;
  report.pause_message = totals.pause_message;
  return report;
}

}  // namespace

// Waits for what the server knows now.
void RedisLedger::await_news(int days) const {
  std::unique_lock locked(shared_.mutex);
  const auto is_answered = [&] { return shared_.view.is_known || shared_.view.is_away; };
  shared_.changed.wait_for(locked, kPatience, is_answered);
  if (!shared_.view.is_known || shared_.view.is_away) return;
  shared_.history_days = std::max(days, 1);
  const uint64_t version = shared_.view_version;
  shared_.wake();
  shared_.changed.wait_for(locked, kPatience, [&] {
    return shared_.view_version > version && static_cast<int>(shared_.view.history.size()) >= days - 1;
  });
}

LedgerReport RedisLedger::report(int days) const {
  if (options_.waits) await_news(days);
  LedgerReport report;
  report.storage = to_string(address_);
  const std::scoped_lock locked(shared_.mutex);
  const RedisView& view = shared_.view;
  report.fault = view.fault;
  report.timezone = shared_.settings.timezone;
  if (!view.is_known) return report;
  report.day = date_text(view.day);
  report.month = month_text(month_of(view.day));
  for (const auto& [name, totals] : view.totals) {  // all together first
    const auto bot = shared_.settings.bots.find(name);
    const bool is_all = name.empty();
    if (!is_all && bot == shared_.settings.bots.end()) continue;
    const RedisBot of_all{shared_.settings.total_caps, 0, 0, 0};
    report.bots.push_back(bot_report(view, name, totals, is_all ? of_all : bot->second, days));
  }
  add_money_of_bots(report);
  return report;
}

}  // namespace bailian
