#pragma once

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

/// Checks a profile file. Every fault names the key, what was expected and what was found.
/// Throws BotProfileError with all of them.
BotProfile parse_bot_profile(std::string_view text);

class BotProfileError : public std::exception {
 public:
  explicit BotProfileError(std::vector<std::string> faults) : faults_(std::move(faults)) {}
  [[nodiscard]] const char* what() const noexcept override { return "the bot profile is not valid"; }
  [[nodiscard]] const std::vector<std::string>& faults() const { return faults_; }

 private:
  std::vector<std::string> faults_;
};

}  // namespace bailian
