#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

/// The response to GET chat-bot-config.
struct BotProfile {
  std::string json;                         // exactly the keys of nginx/api.md
  std::string etag;                         // with its quotes
  std::vector<std::string> button_prompts;  // what its buttons ask, trimmed
};

/// The profile in an unmodified config.php of the old plugin.
BotProfile default_bot_profile();

/// The same with the botStatus of a bot that is offline.
BotProfile offline_profile(BotProfile profile);

/// Checks a profile. Returns nothing if the profile is invalid; `faults` then gets a sentence for each fault:
/// the key, what was expected and what was found.
std::optional<BotProfile> parse_bot_profile(std::string_view text, std::vector<std::string>& faults);

}  // namespace bailian
