#include "commands/usage.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>

#include "commands/ledger_access.h"
#include "ledger/report_json.h"
#include "ledger/report_text.h"

namespace bailian {

int usage(const SettingsSource& source, const UsageOptions& options) {
  const Config config = load_without_keys(source);
  const std::string bot = bot_in_ledger(config, options.bot);
  const auto ledger = open_usable_ledger(config);
  if (options.open_period) ledger->open_period();
  LedgerReport report = ledger->report(options.days);
  if (options.bot) std::erase_if(report.bots, [&bot](const BotReport& one) { return one.bot != bot; });
  fmt::print("{}", options.json ? report_json(report) + '\n' : report_text(report));
  return EX_OK;
}

}  // namespace bailian
