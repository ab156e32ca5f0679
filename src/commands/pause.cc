#include "commands/pause.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>

#include "base/exit_error.h"
#include "base/json.h"
#include "base/text.h"
#include "commands/ledger_access.h"

namespace bailian {
namespace {

std::string name_of_bot(const std::string& bot) { return bot.empty() ? "all bots" : "the bot " + bot; }

void check_message(const std::string& message) {
  const auto refuse = [](const std::string& why) { throw ExitError(EX_USAGE, "--message: " + why); };
  if (message.size() > kMaxPauseMessageBytes)
    refuse(fmt::format("{} bytes, but at most {} are shown", message.size(), kMaxPauseMessageBytes));
  if (!is_utf8(message)) refuse("it is not UTF-8");
  if (printable(message) != message) refuse("it has a line end or another control character");
}

}  // namespace

int pause(const SettingsSource& source, const PauseOptions& options) {
  check_message(options.message);
  const Config config = load_without_keys(source);
  const std::string bot = bot_in_ledger(config, options.bot);
  open_usable_ledger(config)->pause(bot, options.message, options.at_once);
  fmt::print("{} paused: questions get 503, answers in progress {}\n",
             bot.empty() ? "all bots are" : name_of_bot(bot) + " is",
             options.at_once ? "end now" : "go on to their end");
  fmt::print("bailian-fcgi resume{} ends that\n", bot.empty() ? "" : " --bot " + bot);
  return EX_OK;
}

int resume(const SettingsSource& source, const std::optional<std::string>& asked) {
  const Config config = load_without_keys(source);
  const std::string bot = bot_in_ledger(config, asked);
  const auto ledger = open_usable_ledger(config);
  ledger->resume(bot);
  bool is_paused = false;
  for (const BotReport& other : ledger->report(1).bots) {
    const bool matters = bot.empty() || other.bot.empty() || other.bot == bot;
    if (!other.is_paused || !matters) continue;
    is_paused = true;
    fmt::print("{} still paused: bailian-fcgi resume{}\n",
               other.bot.empty() ? "all bots are" : name_of_bot(other.bot) + " is",
               other.bot.empty() ? "" : " --bot " + other.bot);
  }
  if (!is_paused) fmt::print("{} open again\n", bot.empty() ? "all bots are" : name_of_bot(bot) + " is");
  return EX_OK;
}

}  // namespace bailian
