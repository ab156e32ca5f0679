#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

/// What GET chat-bot-config answers.
struct BotProfile {
  std::string json;  // exactly the keys of nginx/api.md
  std::string etag;  // with its quotes
};

/// The profile that the old config.php answered when nobody had changed it.
BotProfile default_bot_profile();

/// Checks a profile. Of one that is not valid nothing is returned, and `faults` gets a sentence for each
/// fault: the key, what was expected and what was found.
std::optional<BotProfile> parse_bot_profile(std::string_view text, std::vector<std::string>& faults);

}  // namespace bailian
