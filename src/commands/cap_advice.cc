#include "commands/cap_advice.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <string_view>

#include "base/text.h"

namespace bailian {
namespace {

using Cap = std::optional<uint64_t>;

struct NamedCap {
  std::string_view setting;
  std::string_view period;  // in words
  Cap cap;
};

std::vector<NamedCap> caps_of(const Config& bot) {
  return {{"CAP_DAY_TOKENS", "day", bot.caps.day},
          {"CAP_MONTH_TOKENS", "month", bot.caps.month},
          {"CAP_VISITOR_DAY_TOKENS", "visitor and day", bot.caps.visitor_day}};
}

std::vector<NamedCap> total_caps(const Config& config) {
  return {{"CAP_TOTAL_DAY_TOKENS", "day", config.total_caps.day},
          {"CAP_TOTAL_MONTH_TOKENS", "month", config.total_caps.month}};
}

bool is_above(const Cap& cap, const Cap& other) { return cap && other && *cap > *other; }

std::vector<const Config*> all_bots(const Config& config) {
  std::vector<const Config*> bots = {&config};
  for (const Config& bot : config.bots) bots.push_back(&bot);
  return bots;
}

class Warnings {
 public:
  explicit Warnings(const Config& config) : config_(config) {}

  std::vector<std::string> find() {
    for (const Config* const bot : all_bots(config_)) look_at(*bot);
    warn_of_small_caps(total_caps(config_), "");
    warn_if_above({"CAP_TOTAL_DAY_TOKENS", "", config_.total_caps.day},
                  {"CAP_TOTAL_MONTH_TOKENS", "", config_.total_caps.month}, "");
    warn_of_command();
    return std::move(sentences_);
  }

 private:
  void look_at(const Config& bot) {
    const std::string where = &bot == &config_ ? "" : fmt::format("bot {}: ", bot.name);
    const auto caps = caps_of(bot);
    const auto total = total_caps(config_);
    warn_of_small_caps(caps, where);
    warn_if_above(caps[0], caps[1], where);
    warn_if_above(caps[2], bot.caps.day ? caps[0] : caps[1], where);
    warn_if_above(caps[0], total[0], where);
    warn_if_above(caps[1], total[1], where);
    warn_of_prices(bot, where);
  }

  // Such a cap has no effect, as the other one is reached first.
  void warn_if_above(const NamedCap& cap, const NamedCap& other, const std::string& where) {
    if (!is_above(cap.cap, other.cap)) return;
    sentences_.push_back(fmt::format("{}{}={} has no effect: {}={} is reached first", where, cap.setting,
                                     *cap.cap, other.setting, *other.cap));
  }

  void warn_of_small_caps(const std::vector<NamedCap>& caps, const std::string& where) {
    constexpr uint64_t kLeastOutput = 64;
    const uint64_t least = config_.cap_expected_input + kLeastOutput;
    for (const auto& [setting, period, cap] : caps) {
      if (!cap || *cap == 0 || *cap >= least) continue;
      sentences_.push_back(
          fmt::format("{}{}={} is too small for one answer: until the first is known, a question is expected "
                      "to take {} tokens (CAP_EXPECTED_INPUT) and at least {} for its answer",
                      where, setting, *cap, config_.cap_expected_input, kLeastOutput));
    }
  }

  void warn_of_prices(const Config& bot, const std::string& where) {
    if ((bot.price_input > 0) != (bot.price_output > 0)) {
      sentences_.push_back(fmt::format("{}{} is set and {} is not, so the money shown is too little", where,
                                       bot.price_input > 0 ? "PRICE_INPUT" : "PRICE_OUTPUT",
                                       bot.price_input > 0 ? "PRICE_OUTPUT" : "PRICE_INPUT"));
    }
    const bool has_price = bot.price_input > 0 || bot.price_output > 0;
    const bool is_capped =
        bot.caps.day || bot.caps.month || config_.total_caps.day || config_.total_caps.month;
    if (has_price && !is_capped)
      sentences_.push_back(where + "prices are set, but no cap: they only show money and limit nothing");
  }

  void warn_of_command() {
    const std::string& command = config_.cap_alert_command;
    if (command.empty()) return;
    if (!has_caps(config_)) sentences_.emplace_back("CAP_ALERT_COMMAND is set, but no cap: it is never run");
    std::string_view rest = trim(command, " ");
    const std::string program(split_off(rest, ' '));
    if (program.find('/') != std::string::npos && ::access(program.c_str(), X_OK) != 0)
      sentences_.push_back(fmt::format("CAP_ALERT_COMMAND: {} cannot be run by this user", program));
  }

  const Config& config_;
  std::vector<std::string> sentences_;
};

// What the ledger says of a cap; nullptr: nothing.
const CapState* find_state(const LedgerReport* report, std::string_view bot, std::string_view period) {
  if (report == nullptr) return nullptr;
  for (const BotReport& one : report->bots) {
    if (one.bot != bot) continue;
    for (const CapState& cap : one.caps) {
      if (cap.scope != "visitor" && cap.period == period) return &cap;
    }
  }
  return nullptr;
}

std::string words_for(const NamedCap& named, const CapState* state) {
  if (*named.cap == 0) return fmt::format("none a {} (closed)", named.period);
  std::string words = fmt::format("{} tokens a {}", *named.cap, named.period);
  if (state == nullptr || !state->limit) return words;
  return words + fmt::format(" ({} used, {} left)", state->used, state->left().value_or(0));
}

// Empty without caps.
std::string line_for(std::string_view whose, std::string_view bot, const std::vector<NamedCap>& caps,
                     const LedgerReport* report) {
  std::string line;
  for (const NamedCap& named : caps) {
    if (!named.cap) continue;
    line += line.empty() ? fmt::format("caps of {}: ", whose) : ", ";
    line += words_for(named, find_state(report, bot, named.period));
  }
  return line;
}

}  // namespace

std::vector<std::string> cap_warnings(const Config& config) { return Warnings(config).find(); }

std::vector<std::string> cap_lines(const Config& config, const LedgerReport* report) {
  if (!has_caps(config)) return {"caps: none"};
  std::vector<std::string> lines;
  const auto add = [&lines](std::string line) {
    if (!line.empty()) lines.push_back(std::move(line));
  };
  add(line_for("all bots", "", total_caps(config), report));
  for (const Config* const bot : all_bots(config)) add(line_for(bot->name, bot->name, caps_of(*bot), report));
  lines.push_back(
      fmt::format("at a cap: new questions get an error (budget_used_up) until midnight in {}, of a "
                  "month's cap until its end; an answer in progress ends with the tokens it holds",
                  config.cap_timezone));
  return lines;
}

}  // namespace bailian
