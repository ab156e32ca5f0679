#include "settings/missing.h"

#include <fmt/format.h>

#include <algorithm>

#include "settings/settings_table.h"

namespace bailian {
namespace {

void add_targets_not_asked(const Config& bot, const Config& main, std::vector<std::string>& sentences) {
  const bool is_main = &bot == &main;
  if (!missing_for_chats(bot).empty()) return;
  for (const Target& target : bot.targets) {
    if (missing_for(target).empty()) continue;
    // What a bot inherits is said once.
    if (!is_main && std::ranges::find(main.targets, target) != main.targets.end()) continue;
    const bool has_key = !target.api_key.empty();
    const char* const lacks = has_key                 ? "application"
                              : target.app_id.empty() ? "key and no application"
                                                      : "key";
    sentences.push_back(fmt::format("{}target {} is not asked: it has no {}",
                                    is_main ? "" : fmt::format("bot {}: ", bot.name), target.number, lacks));
  }
}

}  // namespace

std::string missing_for(const Target& target) {
  std::string missing = target.api_key.empty() ? numbered("DASHSCOPE_API_KEY", target.number) : "";
  if (target.app_id.empty()) missing += (missing.empty() ? "" : " and ") + numbered("APP_ID", target.number);
  return missing;
}

std::string missing_for_chats(const Config& bot) {
  const auto is_complete = [](const Target& target) { return missing_for(target).empty(); };
  return std::ranges::any_of(bot.targets, is_complete) ? "" : missing_for(bot.targets.front());
}

std::vector<std::string> targets_not_asked(const Config& config) {
  std::vector<std::string> sentences;
  add_targets_not_asked(config, config, sentences);
  for (const Config& bot : config.bots) add_targets_not_asked(bot, config, sentences);
  return sentences;
}

}  // namespace bailian
