#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bailian {

/// Tokens and answers of one bot, in one period.
struct Spent {
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t estimated_tokens = 0;  // without usage from the upstream: guessed, or lost with a process
  uint64_t answers = 0;           // complete ones
  uint64_t cached = 0;            // answers from the cache, which cost nothing
  uint64_t refused = 0;           // questions over a cap
  std::optional<double> money{};  // at the present prices, if there are any; estimates cost as output does
  [[nodiscard]] uint64_t tokens() const { return input_tokens + output_tokens + estimated_tokens; }
  [[nodiscard]] bool is_nothing() const { return tokens() + answers + cached + refused == 0; }
};

struct CapState {
  std::string scope{};              // bot, total or visitor
  std::string period{};             // day or month
  std::optional<uint64_t> limit{};  // tokens; none: no cap
  uint64_t used = 0;                // tokens in the running period; of a visitor's cap: 0
  uint64_t leased = 0;              // tokens that open answers may still use
  bool has_refused = false;         // a question, in the running period
  int alerted_percent = 0;          // the owner was alerted at 80 or 100 % in the running period; 0: not yet

  /// What may still be given out; nothing without a limit.
  [[nodiscard]] std::optional<uint64_t> left() const {
    if (!limit) return std::nullopt;
    const uint64_t taken = used + leased;
    return *limit > taken ? *limit - taken : 0;
  }
};

struct DaySpent {
  std::string date{};  // 2026-11-27, in the time zone of the caps
  Spent spent{};
};

struct BotReport {
  std::string bot{};             // empty: all together
  std::vector<DaySpent> days{};  // the latest first; without days on which nothing happened
  Spent month{};                 // the running one
  std::vector<CapState> caps{};
  uint64_t open_leases = 0;
  bool is_paused = false;
  std::string pause_message{};
};

/// What the ledger knows.
struct LedgerReport {
  std::string storage{};  // the setting LEDGER, without a password
  std::string timezone{};
  std::string day{};              // the running period: 2026-11-27
  std::string month{};            // 2026-11
  std::string fault{};            // empty: none
  std::vector<BotReport> bots{};  // all together first
};

/// What this costs, at prices for a million tokens; nothing without a price.
std::optional<double> money_of(const Spent& spent, double price_input, double price_output);
/// Adds what the bots cost, which have prices of their own, to all together.
void add_money_of_bots(LedgerReport& report);

}  // namespace bailian
