#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "settings/address.h"
#include "settings/bot_profile.h"
#include "settings/bots.h"
#include "settings/parse_value.h"

namespace bailian {

/// An application of DashScope, behind a key.
struct Target {
  int number = 1;            // of its settings: APP_ID_2 belongs to target 2, APP_ID to target 1
  std::string api_key;       // empty: not configured
  std::string api_key_file;  // the file to read the key from; empty: none
  std::string app_id;        // empty: not configured
  std::string base_url;
  std::string workspace;

  bool operator==(const Target&) const = default;
};

/// The most tokens, input and output together, that may be used in a period. None: no cap; 0: closed.
struct Caps {
  std::optional<uint64_t> day;
  std::optional<uint64_t> month;
  std::optional<uint64_t> visitor_day;  // of each visitor

  bool operator==(const Caps&) const = default;
};

/// Every setting of a bot, validated; a reload creates new ones. The comments give the unit where the type
/// does not; `.env.example` describes each setting. A setting of the whole service is the same in each bot.
struct Config {
  std::string name{kDefaultBot};                         // of the bot
  std::vector<Target> targets = std::vector<Target>(1);  // the first is always there
  std::string parameters_json;                           // one JSON object
  std::string biz_params_json;                           // likewise; takes precedence over what browsers send
  std::vector<std::string> visitor_params;               // names that browsers may send in biz_params
  std::string memory_id;                                 // empty: none
  bool is_moderated = false;                             // by the provider's content moderation
  std::string system_prompt;                             // empty leaves it to the app
  std::string temperature;                               // as a JSON number; empty leaves it to the app
  std::string host;                                      // empty: `make run` decides
  uint16_t port = 0;
  bool debug = false;
  ListenAddress listen;
  mode_t socket_mode = 0;
  int workers = 0;
  int max_streams = 0;  // of a further bot: 0 is no limit of its own
  size_t max_body_bytes = 0;
  size_t max_prompt_bytes = 0;
  size_t max_history_messages = 0;
  bool warm_up = false;
  bool cap_on_abort_worst = false;  // the whole lease counts when a visitor leaves
  bool caps_open_on_fault = false;  // chats are served while the ledger cannot be used
  Seconds connect_timeout{};
  Seconds first_token_timeout{};
  Seconds idle_timeout{};
  Seconds timeout{};
  Seconds heartbeat{};            // 0: none
  Milliseconds token_coalesce{};  // 0: never
  size_t client_buffer_bytes = 0;
  Seconds client_stall_timeout{};
  int upstream_retries = 0;
  std::vector<std::string> allowed_origins;  // empty: every origin
  BotProfile bot_profile;
  std::string bot_config_file;  // empty: the profile is the default one
  std::string bots_dir;         // empty: there are no further bots
  BotHosts bot_hosts;           // the bots in it exist
  std::vector<Config> bots;     // the further ones, by name, in the configuration of the default one
  Seconds drain_timeout{};
  std::optional<LogFormat> log_format;  // none: depends on where the log goes
  std::optional<LogLevel> log_level;    // none: by `debug`
  std::string log_file;                 // empty: stderr
  Seconds slow_first_token{};           // 0: never
  Seconds slow_answer{};                // 0: never
  std::string ledger;                   // a path or a URL; empty: none
  Caps caps;                            // of this bot
  Caps total_caps;                      // of all bots together; without visitor_day
  std::string cap_timezone{"Asia/Shanghai"};
  uint64_t ledger_slice = 0;           // output tokens of a lease; 0: the default of the storage
  uint64_t cap_expected_input = 2048;  // tokens, while no answer has been seen
  std::string cap_alert_command;       // empty: none
  double price_input = 0;              // for a million tokens; 0: none
  double price_output = 0;             // likewise
  AnswerCaching answer_cache = AnswerCaching::kOff;
  Seconds answer_cache_ttl{};     // after the end of an answer
  size_t answer_cache_bytes = 0;  // of all bots together
};

/// The settings of a bot in `config`, which are those of the default one. nullptr: there is no such bot.
const Config* find_bot(const Config& config, std::string_view name);

/// Whether there is a cap on what a bot, or all together, may use.
inline bool has_caps(const Config& config) {
  const auto has_own = [](const Config& bot) { return bot.caps != Caps(); };
  return config.total_caps != Caps() || has_own(config) || std::ranges::any_of(config.bots, has_own);
}

/// LOG_LEVEL, or without it the level that DEBUG implies.
LogLevel effective_log_level(const Config& config);

class ConfigError : public std::exception {
 public:
  explicit ConfigError(std::vector<std::string> faults) : faults_(std::move(faults)) {}
  [[nodiscard]] const char* what() const noexcept override { return "the configuration is not valid"; }
  [[nodiscard]] const std::vector<std::string>& faults() const { return faults_; }

 private:
  std::vector<std::string> faults_;
};

struct LoadedConfig {
  Config config;
  std::vector<std::string> warnings;
  /// The settings that are set, by key, as they were written; secrets are left out.
  std::map<std::string, std::string, std::less<>> texts;
  /// The key files that the service reads itself, even if the service manager passes the first one of the
  /// main file on.
  std::set<std::string> key_files_of_service;
};

/// Which process reads DASHSCOPE_API_KEY_FILE.
enum class KeyFileReader {
  kThisProcess,     // a file that others can read is a fault
  kServiceManager,  // systemd, which passes it on (LoadCredential=): such a file is a warning
  kNobody           // no key is needed, and no such file is read
};

/// `environment` is a list of KEY=value, as in environ. Without `env_file`, ./.env is read if it exists.
/// Throws ConfigError with every fault: its file, line and key, and the error in the value.
LoadedConfig load_config(const std::vector<std::string>& environment,
                         const std::optional<std::string>& env_file,
                         KeyFileReader reader = KeyFileReader::kThisProcess);

}  // namespace bailian
