#include "settings/settings_table.h"

#include <cstdint>
#include <utility>

#include "settings/parse_value.h"
#include "settings/placeholder.h"
#include "settings/setting_files.h"

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

// Beside DASHSCOPE_API_KEY, which stands above it in the table.
Fault set_key_file(Config& config, const std::string& path) {
  if (path.empty()) return std::nullopt;
  config.api_key_file = path;
  const auto parsed = read_key_file(path);
  if (const ValueFault* fault = fault_in(parsed)) return *fault;
  const auto& key = std::get<std::string>(parsed);
  if (key.empty() || is_placeholder(key)) return std::nullopt;
  if (!config.api_key.empty()) return refused("DASHSCOPE_API_KEY is set too: keep one of the two");
  config.api_key = key;
  return std::nullopt;
}

Fault set_bot_config_file(Config& config, const std::string& path) {
  config.bot_config_file = path;
  return set<&Config::bot_profile, read_bot_profile>(config, path);
}

constexpr size_t kMaxBytes = size_t{1} << 30;

const std::vector<Setting> kSettings = {
    {"DASHSCOPE_API_KEY", "API_KEY", "", true, "a key of printable ASCII without spaces",
     set<&Config::api_key, parse_id>},
    {"DASHSCOPE_API_KEY_FILE", "", "", false, "a file that only its owner can read", set_key_file},
    {"APP_ID", "", "", false, "an application id of printable ASCII without spaces",
     set<&Config::app_id, parse_id>},
    {"DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL", "https://dashscope.aliyuncs.com/api/v1", false,
     "an https:// URL without query (plain http only towards this machine)",
     set<&Config::base_url, parse_base_url>},
    {"DASHSCOPE_WORKSPACE", "", "", false, "a workspace id of printable ASCII without spaces",
     set<&Config::workspace, parse_id>},
    {"DASHSCOPE_PARAMETERS", "", "{}", false, "a JSON object",
     set<&Config::parameters_json, parse_json_object>},
    {"BIZ_PARAMS", "", "{}", true, "a JSON object", set<&Config::biz_params_json, parse_json_object>},
    {"VISITOR_PARAMS", "", "", false, "names of biz_params, separated by commas",
     set<&Config::visitor_params, parse_param_names>},
    {"SYSTEM_PROMPT", "", "", false, "UTF-8 text", set<&Config::system_prompt, parse_utf8>},
    {"TEMPERATURE", "", "", false, "a number of at least 0 and less than 2, or empty",
     set<&Config::temperature, parse_temperature>},
    {"HOST", "", "", false, "an address to listen on, or empty", set<&Config::host, parse_visible_ascii>},
    {"PORT", "", "8000", false, "a port from 1 to 65535",
     set<&Config::port, parse_whole<uint16_t, 1, 65535>>},
    {"DEBUG", "", "False", false, "True or False", set<&Config::debug, parse_bool>},
    {"FCGI_LISTEN", "", kDefaultListen, false, "a socket path with a slash, host:port or [::1]:port",
     set<&Config::listen, parse_listen_address>},
    {"FCGI_SOCKET_MODE", "", "0660", false, "an octal mode from 0 to 0777",
     set<&Config::socket_mode, parse_mode>},
    {"WORKERS", "", "1", false, "a whole number from 1 to 64",
     set<&Config::workers, parse_whole<int, 1, 64>>},
    {"MAX_STREAMS", "", "10000", false, "a whole number from 1 to 1000000",
     set<&Config::max_streams, parse_whole<int, 1, 1000000>>},
    {"MAX_BODY_BYTES", "", "1048576", false, "a number of bytes from 1 to 1073741824",
     set<&Config::max_body_bytes, parse_whole<size_t, 1, kMaxBytes>>},
    {"MAX_PROMPT_BYTES", "", "32768", false, "a number of bytes from 1 to 1073741824",
     set<&Config::max_prompt_bytes, parse_whole<size_t, 1, kMaxBytes>>},
    {"MAX_HISTORY_MESSAGES", "", "40", false, "a whole number from 0 to 10000",
     set<&Config::max_history_messages, parse_whole<size_t, 0, 10000>>},
    {"CONNECT_TIMEOUT", "", "10", false, "a number of seconds from 0.001 to 86400",
     set<&Config::connect_timeout, parse_timeout>},
    {"FIRST_TOKEN_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     set<&Config::first_token_timeout, parse_timeout>},
    {"IDLE_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     set<&Config::idle_timeout, parse_timeout>},
    {"TIMEOUT", "", "300", false, "a number of seconds from 0.001 to 86400",
     set<&Config::timeout, parse_timeout>},
    {"HEARTBEAT", "", "15", false, "a number of seconds from 0 to 86400",
     set<&Config::heartbeat, parse_seconds>},
    {"TOKEN_COALESCE", "", "0.5", false, "a number of milliseconds from 0 to 100",
     set<&Config::token_coalesce, parse_coalesce_time>},
    {"CLIENT_BUFFER_BYTES", "", "262144", false, "a number of bytes from 16384 to 1073741824",
     set<&Config::client_buffer_bytes, parse_whole<size_t, 16384, kMaxBytes>>},
    {"CLIENT_STALL_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     set<&Config::client_stall_timeout, parse_timeout>},
    {"UPSTREAM_RETRIES", "", "1", false, "a whole number from 0 to 10",
     set<&Config::upstream_retries, parse_whole<int, 0, 10>>},
    {"ALLOWED_ORIGINS", "", "*", false, "* or origins like https://example.com, separated by commas",
     set<&Config::allowed_origins, parse_origins>},
    {"BOT_CONFIG_FILE", "", "", false, "a readable JSON file", set_bot_config_file},
    {"DRAIN_TIMEOUT", "", "60", false, "a number of seconds from 0 to 86400",
     set<&Config::drain_timeout, parse_seconds>},
    {"LOG_FORMAT", "", "", false, "text or json, or empty to choose by the type of stderr",
     set<&Config::log_format, parse_log_format>},
    {"LOG_LEVEL", "", "", false, "debug, info, warning or error, or empty to follow DEBUG",
     set<&Config::log_level, parse_log_level>},
    {"LOG_FILE", "", "", false, "the path of a file, or empty for stderr",
     set<&Config::log_file, parse_log_file>},
    {"SLOW_FIRST_TOKEN", "", "10", false, "a number of seconds from 0 to 86400",
     set<&Config::slow_first_token, parse_seconds>},
    {"SLOW_ANSWER", "", "60", false, "a number of seconds from 0 to 86400",
     set<&Config::slow_answer, parse_seconds>},
};

}  // namespace

const std::vector<Setting>& settings() { return kSettings; }

}  // namespace bailian
