#include "ledger/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace bailian {
namespace {

using Row = std::vector<std::string>;

// The first column is aligned to the left, the others to the right, and each line begins with two blanks. The
// last cell of a row that is longer than the first row is a note.
std::string in_columns(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    text += fmt::format("  {:<{}}", row.front(), widths.front());
    for (size_t i = 1; i < widths.size(); ++i) text += fmt::format("  {:>{}}", row[i], widths[i]);
    if (row.size() > widths.size() && !row.back().empty()) text += "  " + row.back();
    text += '\n';
  }
  return text;
}

std::string number_text(std::optional<uint64_t> tokens) { return tokens ? tokens_text(*tokens) : "-"; }

// What the owner should notice.
std::string note_of(const CapState& cap) {
  if (!cap.limit) return "";
  if (*cap.limit == 0) return "closed";
  if (cap.scope == "visitor") return cap.has_refused ? "used up by a visitor" : "";
  const bool is_used_up = cap.used >= *cap.limit || cap.has_refused;
  const double percent = 100.0 * static_cast<double>(cap.used) / static_cast<double>(*cap.limit);
  return fmt::format("{:.0f} %{}", percent, is_used_up ? ", used up" : "");
}

bool has_limit(const BotReport& bot) {
  return std::ranges::any_of(bot.caps, [](const CapState& cap) { return cap.limit.has_value(); });
}

std::string caps_text(const BotReport& bot) {
  std::vector<Row> rows = {{"cap", "limit", "used", "leased", "left"}};
  for (const CapState& cap : bot.caps) {
    if (!cap.limit) continue;
    const bool is_of_each = cap.scope == "visitor";
    Row row = {is_of_each ? "visitor's " + cap.period : cap.period, number_text(cap.limit)};
    for (const auto& number : {std::optional(cap.used), std::optional(cap.leased), cap.left()})
      row.push_back(is_of_each ? "-" : number_text(number));
    row.push_back(note_of(cap));
    rows.push_back(std::move(row));
  }
  return in_columns(rows);
}

Row row_of(const std::string& period, const Spent& spent, bool has_money) {
  Row row = {period,
             tokens_text(spent.input_tokens),
             tokens_text(spent.output_tokens),
             tokens_text(spent.estimated_tokens),
             tokens_text(spent.answers),
             tokens_text(spent.cached),
             tokens_text(spent.refused)};
  if (has_money) row.push_back(spent.money ? fmt::format("{:.2f}", *spent.money) : "-");
  return row;
}

std::string days_text(const BotReport& bot, const std::string& month) {
  const bool has_money = bot.month.money || std::ranges::any_of(bot.days, [](const DaySpent& day) {
                           return day.spent.money.has_value();
                         });
  std::vector<Row> rows = {{"period", "in", "out", "estimated", "answers", "cached", "refused"}};
  if (has_money) rows.front().emplace_back("money");
  for (const DaySpent& day : bot.days) rows.push_back(row_of(day.date, day.spent, has_money));
  rows.push_back(row_of(month, bot.month, has_money));
  return in_columns(rows);
}

std::string bot_text(const BotReport& bot, const std::string& month) {
  std::string text = bot.bot.empty() ? "all bots" : "bot " + printable(bot.bot);
  if (bot.is_paused) text += ": paused";
  text += '\n';
  if (!bot.pause_message.empty() && bot.is_paused)
    text += fmt::format("  visitors read: {}\n", printable(bot.pause_message));
  if (bot.open_leases > 0) text += fmt::format("  answers in progress: {}\n", bot.open_leases);
  if (has_limit(bot)) text += caps_text(bot) + '\n';
  return text + days_text(bot, month);
}

}  // namespace

std::string tokens_text(uint64_t tokens) {
  constexpr uint64_t kMaxExact = 99'999'999;
  constexpr uint64_t kMillion = 1'000'000;
  if (tokens <= kMaxExact) return std::to_string(tokens);
  return fmt::format("{}.{}M", tokens / kMillion, tokens % kMillion * 10 / kMillion);
}

std::string report_text(const LedgerReport& report) {
  std::string text =
      fmt::format("ledger {}, day {} ({})\n", printable(report.storage), report.day, report.timezone);
  if (!report.fault.empty()) text += fmt::format("fault: {}\n", printable(report.fault));
  for (const BotReport& bot : report.bots) {
    // With one bot, the sum is that bot's.
    const bool is_repetition =
        bot.bot.empty() && report.bots.size() == 2 && !bot.is_paused && !has_limit(bot);
    if (!is_repetition) text += '\n' + bot_text(bot, report.month);
  }
  return text;
}

}  // namespace bailian
