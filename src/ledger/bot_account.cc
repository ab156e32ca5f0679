#include "ledger/bot_account.h"

#include <algorithm>
#include <chrono>

#include "ledger/visitors.h"

namespace bailian {
namespace {

constexpr uint64_t kLowByte = 0xff;
constexpr uint64_t kMaxAddedInput = uint64_t{1} << 32;

Entry& entry_of(const MeteredBot& bot) { return *bot.entry.load(std::memory_order_acquire); }

Pause kind_of(const Entry& entry) {
  return static_cast<Pause>(entry.pause.load(std::memory_order_acquire) & kLowByte);
}

// Of the scopes behind the visitor's: the days and months of the bot and of all, in turns.
bool is_month(size_t i, const BotScopes& scopes) { return (i - (scopes.has_visitor ? 1 : 0)) % 2 == 1; }
bool is_visitor(size_t i, const BotScopes& scopes) { return scopes.has_visitor && i == 0; }

}  // namespace

std::optional<BotScopes> scopes_of(const Table& table, const MeteredBot& bot, const MeteredBot& all, Day day,
                                   uint64_t place) {
  BotScopes scopes;
  VisitorTable& visitors = table.visitors(day);
  if (place > 0 && visitors.day.load(std::memory_order_acquire) == static_cast<uint64_t>(day)) {
    if (Count* const committed = committed_at(visitors, place)) {
      scopes.scopes.add(*committed, bot.visitor_day_cap);
      scopes.has_visitor = true;
    }
  }
  for (const MeteredBot* const counted : {&bot, &all}) {
    const Account account = Table::account(entry_of(*counted), day);
    if (account.day == nullptr || account.month == nullptr) return std::nullopt;
    scopes.scopes.add(account.day->committed, counted->day_cap);
    scopes.scopes.add(account.month->committed, counted->month_cap);
  }
  return scopes;
}

std::optional<Refusal> refusal_of(const Table& table, const BotScopes& scopes, uint64_t needed) {
  const PeriodClock clock = table.clock();
  std::optional<Refusal> refusal;
  int64_t ends = 0;
  bool is_closed = false;  // by a cap of 0, which no period ends
  for (size_t i = 0; i < scopes.scopes.size(); ++i) {
    if (scopes.scopes.room(i) >= needed) continue;
    // Any other cap tells more than the visitor's own one.
    refusal = Refusal{is_visitor(i, scopes) ? Refusal::Cause::kVisitorUsedUp : Refusal::Cause::kUsedUp};
    is_closed = is_closed || scopes.scopes.cap(i) == 0;
    ends = std::max(ends, !is_visitor(i, scopes) && is_month(i, scopes) ? clock.month_ends : clock.ends);
  }
  if (refusal && !is_closed) {
    // The next period begins up to a second late.
    const int64_t seconds = ends - believed_time(clock, read_clocks()) + 1;
    refusal->retry_after = std::chrono::seconds(std::max<int64_t>(seconds, 1));
  }
  return refusal;
}

void note_refusal(const MeteredBot& bot, const MeteredBot& all, const Table& table, const BotScopes& scopes,
                  uint64_t needed) {
  const Day day = table.day();
  for (size_t i = 0; i < scopes.scopes.size(); ++i) {
    if (scopes.scopes.room(i) >= needed) continue;
    if (is_visitor(i, scopes)) {
      Table::set_flags(entry_of(bot).day_flags, day, kVisitorRefused);
      continue;
    }
    Entry& entry = entry_of(i - (scopes.has_visitor ? 1 : 0) < 2 ? bot : all);
    if (is_month(i, scopes)) {
      Table::set_flags(entry.month_flags, month_of(day), kRefused);
    } else {
      Table::set_flags(entry.day_flags, day, kRefused);
    }
  }
}

std::string pause_message(const Entry& entry) {
  for (;;) {
    const uint64_t pause = entry.pause.load(std::memory_order_acquire);
    std::string message = entry.messages[pause >> 8 & 1].get();
    if (entry.pause.load(std::memory_order_acquire) == pause) return message;
  }
}

std::optional<Refusal> pause_of(const MeteredBot& bot, const MeteredBot& all) {
  for (const MeteredBot* const paused : {&bot, &all}) {
    const Entry& entry = entry_of(*paused);
    if (kind_of(entry) != Pause::kNone)
      return Refusal{.cause = Refusal::Cause::kPaused, .message = pause_message(entry)};
  }
  return std::nullopt;
}

bool is_paused_at_once(const MeteredBot& bot, const MeteredBot& all) {
  return kind_of(entry_of(bot)) == Pause::kAtOnce || kind_of(entry_of(all)) == Pause::kAtOnce;
}

uint64_t added_input(const MeteredBot& bot) {
  uint64_t most = 0;
  for (const Count& input : entry_of(bot).inputs)
    most = std::max(most, input.load(std::memory_order_relaxed));
  return most > 0 ? std::min(most - 1, kMaxAddedInput) : bot.expected_input.load(std::memory_order_relaxed);
}

void note_added_input(const MeteredBot& bot, uint64_t tokens) {
  Entry& entry = entry_of(bot);
  const uint64_t place = entry.next_input.fetch_add(1, std::memory_order_relaxed) % kInputs;
  entry.inputs[place].store(std::min(tokens, kMaxAddedInput) + 1, std::memory_order_relaxed);
}

}  // namespace bailian
