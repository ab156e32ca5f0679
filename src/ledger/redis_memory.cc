#include "ledger/redis_memory.h"

#include <array>
#include <utility>

namespace bailian {
namespace {

void add_period(std::vector<RedisBatch::Memory>& memory, const std::string& key, const std::string& bot,
                const RedisTotals::Period& period) {
  const Spent& spent = period.spent;
  const std::array<std::pair<const char*, uint64_t>, 8> fields{{{"c|", period.committed},
                                                                {"i|", spent.input_tokens},
                                                                {"o|", spent.output_tokens},
                                                                {"e|", spent.estimated_tokens},
                                                                {"a|", spent.answers},
                                                                {"h|", spent.cached},
                                                                {"r|", spent.refused},
                                                                {"l|", uint64_t(period.alerted_percent)}}};
  for (const auto& [field, value] : fields) {
    if (value > 0) memory.push_back({key, field + bot, std::to_string(value)});
  }
}

}  // namespace

std::vector<RedisBatch::Memory> redis_memory(Day day,
                                             const std::map<std::string, RedisTotals, std::less<>>& totals) {
  std::vector<RedisBatch::Memory> memory;
  if (day == 0) return memory;
  const std::string date = compact_date(day);
  for (const auto& [name, known] : totals) {
    const std::string bot = escape_bot(name);
    add_period(memory, "day:" + date, bot, known.day);
    add_period(memory, "month:" + date.substr(0, 6), bot, known.month);
    if (!known.is_paused) continue;
    memory.push_back({"state", "p|" + bot, known.is_paused_at_once ? "2" : "1"});
    memory.push_back({"state", "m|" + bot, known.pause_message});
  }
  return memory;
}

}  // namespace bailian
