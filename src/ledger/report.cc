#include "ledger/report.h"

#include <algorithm>

namespace bailian {
namespace {

void add(std::optional<double>& sum, const std::optional<double>& more) {
  if (more) sum = sum.value_or(0) + *more;
}

}  // namespace

std::optional<double> money_of(const Spent& spent, double price_input, double price_output) {
  if (price_input == 0 && price_output == 0) return std::nullopt;
  return (static_cast<double>(spent.input_tokens) * price_input +
          static_cast<double>(spent.output_tokens + spent.estimated_tokens) * price_output) /
         1e6;
}

void add_money_of_bots(LedgerReport& report) {
  for (size_t i = 1; i < report.bots.size(); ++i) {
    BotReport& all = report.bots.front();
    add(all.month.money, report.bots[i].month.money);
    for (const DaySpent& day : report.bots[i].days) {
      const auto of_all = std::ranges::find(all.days, day.date, &DaySpent::date);
      if (of_all != all.days.end()) add(of_all->spent.money, day.spent.money);
    }
  }
}

}  // namespace bailian
