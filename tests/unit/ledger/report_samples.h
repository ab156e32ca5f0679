#pragma once

#include "ledger/report.h"

namespace bailian {

// A report in which every kind of value occurs.
inline LedgerReport sample_report() {
  LedgerReport report;
  report.storage = "/var/lib/bailian-fcgi/ledger";
  report.timezone = "Asia/Shanghai";
  report.day = "2026-11-27";
  report.month = "2026-11";
  BotReport total;
  total.month = {40, 50, 6, 7, 8, 9, 1.25};
  total.days = {{"2026-11-27", {4, 5, 0, 1, 0, 2, 0.125}}};
  total.caps = {{.scope = "total", .period = "day", .limit = 1000, .used = 9, .leased = 640},
                {.scope = "total", .period = "month", .used = 96}};
  total.open_leases = 1;
  BotReport shop = total;
  shop.bot = "shop";
  shop.days = {{"2026-11-27", {4, 5, 0, 1, 0, 2, 0.125}},
               {"2026-11-25", {123'456, 1'234'567'890, 17, 99, 0, 0, 12.5}}};
  shop.caps = {
      {.scope = "bot", .period = "day", .limit = 100, .used = 81, .leased = 30, .alerted_percent = 80},
      {.scope = "bot", .period = "month", .limit = 90, .used = 89, .has_refused = true},
      {.scope = "visitor", .period = "day", .limit = 50}};
  shop.is_paused = true;
  shop.pause_message = "Back at nine\n\"sharp\"";
  report.bots = {total, shop};
  return report;
}

}  // namespace bailian
