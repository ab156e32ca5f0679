#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "ledger/ledger.h"
#include "ledger/table.h"
#include "ledger/table_layout.h"

namespace bailian {

/// A bot of the settings, or all together. Everything but its name may change while leases are open.
struct MeteredBot {
  std::string name;
  Count day_cap{kNoCap};
  Count month_cap{kNoCap};
  Count visitor_day_cap{kNoCap};
  Count expected_input{0};  // tokens, while no answer has been seen
  std::atomic<double> price_input{0};
  std::atomic<double> price_output{0};
  std::atomic<bool> is_configured{false};
  std::atomic<Entry*> entry{nullptr};  // nullptr: it cannot be counted yet

  [[nodiscard]] bool has_cap() const {
    return day_cap.load() != kNoCap || month_cap.load() != kNoCap || visitor_day_cap.load() != kNoCap;
  }
};

/// The scopes of a question, the innermost first.
struct BotScopes {
  Scopes scopes;
  bool has_visitor = false;
};

/// `place` is that of the visitor; 0: he has no cap of his own. Nothing: the table does not keep the day.
std::optional<BotScopes> scopes_of(const Table& table, const MeteredBot& bot, const MeteredBot& all, Day day,
                                   uint64_t place);

/// Why `needed` tokens do not fit. Nothing: they do.
std::optional<Refusal> refusal_of(const Table& table, const BotScopes& scopes, uint64_t needed);
/// Remembers for the report which caps refused them.
void note_refusal(const MeteredBot& bot, const MeteredBot& all, const Table& table, const BotScopes& scopes,
                  uint64_t needed);

/// The pause of the bot or of all; nothing: there is none.
std::optional<Refusal> pause_of(const MeteredBot& bot, const MeteredBot& all);
bool is_paused_at_once(const MeteredBot& bot, const MeteredBot& all);
std::string pause_message(const Entry& entry);

/// The tokens that the upstream adds to a question: the most that it added to one of the last.
uint64_t added_input(const MeteredBot& bot);
void note_added_input(const MeteredBot& bot, uint64_t tokens);

}  // namespace bailian
