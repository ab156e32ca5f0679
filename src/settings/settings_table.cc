#include "settings/settings_table.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "settings/bots.h"
#include "settings/parse_value.h"
#include "settings/placeholder.h"

namespace bailian {
namespace {

using Fault = std::optional<ValueFault>;

template <auto member, auto parse>
Fault set(Config& config, const std::string& text) {
  auto parsed = parse(text);
  if (const ValueFault* fault = fault_in(parsed)) return *fault;
  config.*member = std::get<0>(std::move(parsed));
  return std::nullopt;
}

template <auto caps, auto member>
Fault set_cap(Config& config, const std::string& text) {
  const auto parsed = parse_cap(text);
  if (const ValueFault* fault = fault_in(parsed)) return *fault;
  config.*caps.*member = std::get<0>(parsed);
  return std::nullopt;
}

template <auto member, auto parse>
Fault set_target(Config& config, const std::string& text) {
  auto parsed = parse(text);
  if (const ValueFault* fault = fault_in(parsed)) return *fault;
  config.targets.front().*member = std::get<0>(std::move(parsed));
  return std::nullopt;
}

// Beside DASHSCOPE_API_KEY, which stands above it in the table.
Fault set_key_file(Config& config, const std::string& path) {
  if (path.empty()) return std::nullopt;
  Target& target = config.targets.front();
  target.api_key_file = path;
  const auto parsed = read_key_file(path);
  if (const ValueFault* fault = fault_in(parsed)) return *fault;
  const auto& key = std::get<std::string>(parsed);
  if (key.empty() || is_placeholder(key)) return std::nullopt;
  if (!target.api_key.empty()) {
    return refused(
        fmt::format("{} is set too: keep one of the two", numbered("DASHSCOPE_API_KEY", target.number)));
  }
  target.api_key = key;
  return std::nullopt;
}

// Without a path the default profile.
Parsed<BotProfile> read_bot_profile(const std::string& path) {
  if (path.empty()) return default_bot_profile();
  const auto text = read_text_file(path);
  if (const ValueFault* fault = fault_in(text)) return *fault;
  if (!is_utf8(std::get<std::string>(text)))
    return refused(fmt::format("{} is not UTF-8 (if it is GBK: iconv -f GBK -t UTF-8)", path));
  std::vector<std::string> faults;
  auto profile = parse_bot_profile(std::get<std::string>(text), faults);
  if (profile) return std::move(*profile);
  return refused(fmt::format("{}: {}", path, fmt::join(faults, "; ")));
}

Fault set_bot_config_file(Config& config, const std::string& path) {
  config.bot_config_file = path;
  return set<&Config::bot_profile, read_bot_profile>(config, path);
}

constexpr size_t kMaxBytes = size_t{1} << 30;
constexpr std::string_view kByteRange = "a number of bytes from 1 to 1073741824";
constexpr std::string_view kTimeoutRange = "a number of seconds from 0.001 to 86400";
constexpr std::string_view kCapRange = "a number of tokens from 0 to 1000000000000000, or empty";
constexpr std::string_view kPriceRange = "a price from 0 to 1000000, or empty";
constexpr std::string_view kSecondsRange = "a number of seconds from 0 to 86400";

const std::vector<Setting> kSettings = {
    {"DASHSCOPE_API_KEY", "", "a key of printable ASCII without spaces",
     set_target<&Target::api_key, parse_id>, Scope::kTarget, "API_KEY", true},
    {"DASHSCOPE_API_KEY_FILE", "", "a file that only its owner can read", set_key_file, Scope::kTarget},
    {"APP_ID", "", "an application id of printable ASCII without spaces",
     set_target<&Target::app_id, parse_id>, Scope::kTarget},
    {"DASHSCOPE_BASE_URL", "https://dashscope.aliyuncs.com/api/v1",
     "an https:// URL without query (plain http only towards this machine)",
     set_target<&Target::base_url, parse_base_url>, Scope::kTarget, "DASHSCOPE_HTTP_BASE_URL"},
    {"DASHSCOPE_WORKSPACE", "", "a workspace id of printable ASCII without spaces",
     set_target<&Target::workspace, parse_id>, Scope::kTarget},
    {"DASHSCOPE_PARAMETERS", "{}", "a JSON object", set<&Config::parameters_json, parse_json_object>,
     Scope::kBot},
    {"BIZ_PARAMS", "{}", "a JSON object", set<&Config::biz_params_json, parse_json_object>, Scope::kBot, "",
     true},
    {"VISITOR_PARAMS", "", "names of biz_params, separated by commas",
     set<&Config::visitor_params, parse_param_names>, Scope::kBot},
    {"MEMORY_ID", "", "a memory id of printable ASCII without spaces", set<&Config::memory_id, parse_id>,
     Scope::kBot},
    {"MODERATION", "off", "off or cip", set<&Config::is_moderated, parse_moderation>, Scope::kBot},
    {"SYSTEM_PROMPT", "", "UTF-8 text", set<&Config::system_prompt, parse_utf8>, Scope::kBot},
    {"TEMPERATURE", "", "a number of at least 0 and less than 2, or empty",
     set<&Config::temperature, parse_temperature>, Scope::kBot},
    {"HOST", "", "an address to listen on, or empty", set<&Config::host, parse_visible_ascii>},
    {"PORT", "8000", "a port from 1 to 65535", set<&Config::port, parse_whole<uint16_t, 1, 65535>>},
    {"DEBUG", "False", "True or False", set<&Config::debug, parse_bool>},
    {"FCGI_LISTEN", kDefaultListen, "a socket path with a slash, host:port or [::1]:port",
     set<&Config::listen, parse_listen_address>},
    {"FCGI_SOCKET_MODE", "0660", "an octal mode from 0 to 0777", set<&Config::socket_mode, parse_mode>},
    {"WORKERS", "1", "a whole number from 1 to 64", set<&Config::workers, parse_whole<int, 1, 64>>},
    {"MAX_STREAMS", "10000", "a whole number from 1 to 1000000",
     set<&Config::max_streams, parse_whole<int, 1, 1000000>>, Scope::kBot},
    {"MAX_BODY_BYTES", "1048576", kByteRange,
     set<&Config::max_body_bytes, parse_whole<size_t, 1, kMaxBytes>>},
    {"MAX_PROMPT_BYTES", "32768", kByteRange,
     set<&Config::max_prompt_bytes, parse_whole<size_t, 1, kMaxBytes>>, Scope::kBot},
    {"MAX_HISTORY_MESSAGES", "40", "a whole number from 0 to 10000",
     set<&Config::max_history_messages, parse_whole<size_t, 0, 10000>>, Scope::kBot},
    {"WARM_UP", "on", "on or off", set<&Config::warm_up, parse_on_off>, Scope::kBot},
    {"CONNECT_TIMEOUT", "10", kTimeoutRange, set<&Config::connect_timeout, parse_timeout>, Scope::kBot},
    {"FIRST_TOKEN_TIMEOUT", "60", kTimeoutRange, set<&Config::first_token_timeout, parse_timeout>,
     Scope::kBot},
    {"IDLE_TIMEOUT", "60", kTimeoutRange, set<&Config::idle_timeout, parse_timeout>, Scope::kBot},
    {"TIMEOUT", "300", kTimeoutRange, set<&Config::timeout, parse_timeout>, Scope::kBot},
    {"HEARTBEAT", "15", kSecondsRange, set<&Config::heartbeat, parse_seconds>, Scope::kBot},
    {"TOKEN_COALESCE", "0.5", "a number of milliseconds from 0 to 100",
     set<&Config::token_coalesce, parse_coalesce_time>},
    {"CLIENT_BUFFER_BYTES", "262144", "a number of bytes from 16384 to 1073741824",
     set<&Config::client_buffer_bytes, parse_whole<size_t, 16384, kMaxBytes>>},
    {"CLIENT_STALL_TIMEOUT", "60", kTimeoutRange, set<&Config::client_stall_timeout, parse_timeout>},
    {"UPSTREAM_RETRIES", "1", "a whole number from 0 to 10",
     set<&Config::upstream_retries, parse_whole<int, 0, 10>>, Scope::kBot},
    {"ANSWER_CACHE", "buttons", "off, buttons or first-turn", set<&Config::answer_cache, parse_answer_cache>,
     Scope::kBot},
    {"ANSWER_CACHE_TTL", "3600", kSecondsRange, set<&Config::answer_cache_ttl, parse_seconds>, Scope::kBot},
    {"ANSWER_CACHE_BYTES", "8388608", kByteRange,
     set<&Config::answer_cache_bytes, parse_whole<size_t, 1, kMaxBytes>>},
    {"ALLOWED_ORIGINS", "*", "* or origins like https://example.com, separated by commas",
     set<&Config::allowed_origins, parse_origins>, Scope::kBot},
    {"BOT_CONFIG_FILE", "", "a readable JSON file", set_bot_config_file, Scope::kBot},
    {"BOTS_DIR", "", "a folder", set<&Config::bots_dir, parse_utf8>},
    {"BOT_HOSTS", "", "pairs like www.shop.example=shop, separated by commas",
     set<&Config::bot_hosts, parse_bot_hosts>},
    {"LEDGER", "/var/lib/bailian-fcgi/ledger",
     "a path with a slash, redis://..., rediss://... or unix:///..., or empty",
     set<&Config::ledger, parse_ledger>},
    {"CAP_DAY_TOKENS", "", kCapRange, set_cap<&Config::caps, &Caps::day>, Scope::kBot},
    {"CAP_MONTH_TOKENS", "", kCapRange, set_cap<&Config::caps, &Caps::month>, Scope::kBot},
    {"CAP_VISITOR_DAY_TOKENS", "", kCapRange, set_cap<&Config::caps, &Caps::visitor_day>, Scope::kBot},
    {"CAP_TOTAL_DAY_TOKENS", "", kCapRange, set_cap<&Config::total_caps, &Caps::day>},
    {"CAP_TOTAL_MONTH_TOKENS", "", kCapRange, set_cap<&Config::total_caps, &Caps::month>},
    {"CAP_TIMEZONE", "Asia/Shanghai", "a time zone like Asia/Shanghai",
     set<&Config::cap_timezone, parse_time_zone>},
    {"CAP_EXPECTED_INPUT", "2048", "a number of tokens from 1 to 10000000",
     set<&Config::cap_expected_input, parse_whole<uint64_t, 1, 10000000>>},
    {"LEDGER_SLICE", "", "a number of tokens from 64 to 1000000, or empty",
     set<&Config::ledger_slice, parse_slice>},
    {"CAP_ON_ABORT", "seen", "seen or worst", set<&Config::cap_on_abort_worst, parse_on_abort>},
    {"CAPS_ON_FAULT", "closed", "closed or open", set<&Config::caps_open_on_fault, parse_on_fault>},
    {"CAP_ALERT_COMMAND", "", "a command, or empty", set<&Config::cap_alert_command, parse_utf8>},
    {"PRICE_INPUT", "", kPriceRange, set<&Config::price_input, parse_price>, Scope::kBot},
    {"PRICE_OUTPUT", "", kPriceRange, set<&Config::price_output, parse_price>, Scope::kBot},
    {"DRAIN_TIMEOUT", "60", kSecondsRange, set<&Config::drain_timeout, parse_seconds>},
    {"LOG_FORMAT", "", "text or json, or empty to choose by the type of stderr",
     set<&Config::log_format, parse_log_format>},
    {"LOG_LEVEL", "", "debug, info, warning or error, or empty to follow DEBUG",
     set<&Config::log_level, parse_log_level>},
    {"LOG_FILE", "", "the path of a file, or empty for stderr", set<&Config::log_file, parse_log_file>},
    {"SLOW_FIRST_TOKEN", "10", kSecondsRange, set<&Config::slow_first_token, parse_seconds>, Scope::kBot},
    {"SLOW_ANSWER", "60", kSecondsRange, set<&Config::slow_answer, parse_seconds>, Scope::kBot},
};

// A line of a .env file instead of a key: `DASHSCOPE_API_KEY=...`.
bool is_assignment(std::string_view text) {
  const std::string name = to_lower(text.substr(0, text.find('=')));
  return name.size() < text.size() && name.find("key") != std::string::npos;
}

// APP_ID_2 to APP_ID_9.
bool is_of_further_target(std::string_view name, std::string_view key) {
  if (name.size() != key.size() + 2 || !name.starts_with(key)) return false;
  return name[key.size()] == '_' && name.back() >= '2' && name.back() <= '0' + kMaxTargets;
}

// The Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

// Keys of other providers share an environment with ours, so these are recognised by their first word.
std::string_view by_prefix(std::string_view name) {
  for (const std::string_view prefix : {"DASHSCOPE_", "BAILIAN_", "ALIYUN_"}) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = name.substr(prefix.size());
    if (rest == "APP_ID" || rest == "APPLICATION_ID") return "APP_ID";
    if (rest == "API_KEY" || rest == "KEY") return "DASHSCOPE_API_KEY";
  }
  return "";
}

std::string_view suggested_key(std::string_view name, bool is_in_environment) {
  constexpr size_t kMinGuessedBytes = 5;  // HOST and PORT are similar to too many words
  if (const std::string_view meant = by_prefix(name); !meant.empty()) return meant;
  for (const Setting& setting : kSettings) {
    const bool is_near = setting.key.size() >= kMinGuessedBytes && edit_distance(name, setting.key) <= 2;
    if (is_near || (name == setting.key && !is_in_environment)) return setting.key;
  }
  return "";
}

}  // namespace

const std::vector<Setting>& settings() { return kSettings; }

Parsed<std::string> read_text_file(const std::string& path) {
  constexpr size_t kMaxFileBytes = size_t{4} << 20;
  const auto text = read_file(path, kMaxFileBytes + 1);
  if (!text) return refused(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (text->size() > kMaxFileBytes) return refused(fmt::format("{} is longer than 4 MiB", path));
  if (is_utf16(*text)) return refused(fmt::format("{} is UTF-16: save it as UTF-8", path));
  return std::string(without_bom(*text));
}

Parsed<std::string> read_key_file(const std::string& path) {
  auto text = read_text_file(path);
  if (fault_in(text) != nullptr) return text;
  std::string key(trim(std::get<std::string>(text)));
  const auto refuse = [&path](std::string_view what) { return refused(fmt::format("{} {}", path, what)); };
  if (is_placeholder(key)) return key;
  if (const auto ends = std::count(key.begin(), key.end(), '\n'); ends > 0)
    return refuse(fmt::format("has {} lines: it must contain the key alone, on one line", ends + 1));
  if (is_assignment(key)) return refuse("contains NAME=...: it must contain the key alone");
  if (is_quoted(key)) return refuse("contains the key in quotes: remove the quotes");
  if (!is_visible_ascii(key)) return refuse("holds no key: it contains blanks or non-ASCII characters");
  return key;
}

std::string fault_of_key_file_mode(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";  // reading it reports that
  // systemd lets one user read a credential by an access list, which shows in the mode as the group's right.
  // Only root is in root's group.
  const mode_t others = status.st_uid == 0 && status.st_gid == 0 ? 037 : 077;
  if ((status.st_mode & others) == 0) return "";
  return fmt::format("{} can be read by others (mode {:04o}): chmod 600 it", path, status.st_mode & 07777);
}

std::string numbered(std::string_view key, int target) {
  return target == 1 ? std::string(key) : fmt::format("{}_{}", key, target);
}

const Setting* find_setting(std::string_view name) {
  for (const Setting& setting : settings()) {
    if (name == setting.key || (name == setting.alias && !name.empty())) return &setting;
    if (setting.scope == Scope::kTarget && is_of_further_target(name, setting.key)) return &setting;
  }
  return nullptr;
}

std::string suggested_setting(std::string_view name, bool is_in_environment) {
  if (find_setting(name) != nullptr) return "";
  std::string likely(name);
  for (char& c : likely) c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c & ~0x20) : c;
  const size_t digits = likely.size() - std::min(likely.find_last_not_of("0123456789") + 1, likely.size());
  std::string_view stem = std::string_view(likely).substr(0, likely.size() - digits);
  if (stem.ends_with('_')) stem.remove_suffix(1);
  const std::string_view key = digits > 0 ? suggested_key(stem, is_in_environment) : "";
  const Setting* const of_target = key.empty() ? nullptr : find_setting(key);
  if (of_target == nullptr || of_target->scope != Scope::kTarget)
    return std::string(suggested_key(likely, is_in_environment));
  const std::string_view number = std::string_view(likely).substr(likely.size() - digits);
  if (number == "1") return std::string(key);
  if (number.size() == 1 && number >= "2") return fmt::format("{}_{}", key, number);
  return fmt::format("{0}_2 to {0}_{1}", key, kMaxTargets);
}

}  // namespace bailian
