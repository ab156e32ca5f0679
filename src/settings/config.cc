#include "settings/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "settings/biz_params.h"
#include "settings/dotenv.h"
#include "settings/placeholder.h"

namespace bailian {
namespace {

using std::invalid_argument;

void require(bool good) {
  if (!good) throw invalid_argument("");
}

template <typename Number>
Number parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  require(error == std::errc() && end == text.data() + text.size());
  return number;
}

template <typename Number>
Number number_within(std::string_view text, Number least, Number most) {
  const auto number = parse_number<Number>(text);
  require(number >= least && number <= most);
  return number;
}

constexpr double kMaxSeconds = 86400;
Seconds positive_seconds(std::string_view text) { return Seconds(number_within(text, 0.001, kMaxSeconds)); }

bool parse_bool(const std::string& mixed) {
  const std::string text = to_lower(mixed);
  if (text == "true" || text == "1" || text == "yes") return true;
  require(text == "false" || text == "0" || text == "no");
  return false;
}

std::string header_safe(const std::string& text) {
  require(is_visible_ascii(text));
  return text;
}

bool is_quoted(std::string_view text) {
  return text.size() > 1 && (text.front() == '"' || text.front() == '\'') &&
         text.find(text.front(), 1) == text.size() - 1;
}
constexpr std::string_view kQuotesStay =
    "the quotes are part of the value, as docker --env-file and Kubernetes keep them: remove them";

// Of a key or an id. A placeholder counts as not set.
std::string parse_id(const std::string& text) {
  if (is_placeholder(text)) return "";
  if (is_quoted(text)) throw SettingFault(std::string(kQuotesStay));
  return header_safe(text);
}

// A text file of the operator's, as UTF-8 without a byte order mark.
std::string read_text_file(const std::string& path) {
  constexpr size_t kMaxFileBytes = size_t{4} << 20;
  const auto text = read_file(path, kMaxFileBytes + 1);
  if (!text) throw SettingFault(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (text->size() > kMaxFileBytes) throw SettingFault(fmt::format("{} is longer than 4 MiB", path));
  if (is_utf16(*text)) throw SettingFault(fmt::format("{} is UTF-16: save it as UTF-8", path));
  return std::string(without_bom(*text));
}

// A line of a .env file in place of a key: `DASHSCOPE_API_KEY=...`.
bool is_assignment(std::string_view text) {
  const std::string name = to_lower(text.substr(0, text.find('=')));
  return name.size() < text.size() && name.find("key") != std::string::npos;
}

// Empty when the file is.
std::string read_key_file(const std::string& path) {
  const std::string text = read_text_file(path);
  std::string key(trim(text));
  const auto refuse = [&path](std::string_view what) {
    throw SettingFault(fmt::format("{} {}", path, what));
  };
  if (is_placeholder(key)) return key;
  if (const auto ends = std::count(key.begin(), key.end(), '\n'); ends > 0) {
    refuse(fmt::format("has {} lines: put the key on one line, alone", ends + 1));
  }
  if (is_assignment(key)) refuse("has NAME=... in it: put the key there alone");
  if (is_quoted(key)) refuse("has the key in quotes: remove them");
  if (!is_visible_ascii(key)) refuse("holds no key: it has blanks or non-ASCII characters");
  return key;
}

// What lets others read the file; empty when nothing does.
std::string fault_of_key_file_mode(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";  // reading it tells
  // systemd lets one user read a credential by an access list, which shows in the mode as the group's right.
  // Nobody but root is in root's group.
  const mode_t others = status.st_uid == 0 && status.st_gid == 0 ? 037 : 077;
  if ((status.st_mode & others) == 0) return "";
  return fmt::format("{} can be read by others (mode {:04o}): chmod 600 it", path, status.st_mode & 07777);
}

// People paste what their examples have: the host alone, the address of an application, or the one that
// OpenAI's libraries take.
std::string the_api_of(std::string_view url, std::string_view host) {
  constexpr std::string_view kApi = "/api/v1";
  while (url.ends_with('/')) url.remove_suffix(1);
  std::string api(url);
  if (const size_t below = api.find("/api/v1/"); below != std::string::npos) api.resize(below + kApi.size());
  if (const size_t openai = api.find("/compatible-mode"); openai != std::string::npos)
    api.replace(openai, std::string::npos, kApi);
  if (const size_t app = api.find("/apps/"); app != std::string::npos && api.ends_with("/completion"))
    api.resize(app);
  const bool is_of_aliyun = host.ends_with(".aliyuncs.com");
  if (is_of_aliyun && api.ends_with("/api")) api += "/v1";
  if (is_of_aliyun && api.find('/', api.find("://") + 3) == std::string::npos) api += kApi;
  return api;
}

std::string parse_base_url(const std::string& url) {
  const std::string_view rest = [&]() -> std::string_view {
    const std::string_view view = url;
    if (view.starts_with("https://")) return view.substr(8);
    require(view.starts_with("http://"));
    return view.substr(7);
  }();
  const std::string_view authority = rest.substr(0, rest.find('/'));
  const std::string_view host =
      authority.substr(0, authority.starts_with('[') ? authority.find(']') + 1 : authority.find(':'));
  require(!host.empty() && is_visible_ascii(url) && rest.find_first_of("@?#\"\\") == std::string_view::npos);
  if (url.starts_with("http://") && !is_loopback(host)) {
    throw invalid_argument("https:// (plain http only towards this machine)");
  }
  return the_api_of(url, host);
}

std::string parse_parameters(const std::string& text) {
  JsonDocument document;
  if (const auto fault = parse_json(text, document)) {
    throw invalid_argument(fmt::format("a JSON object, but {} at byte {}", fault->what, fault->offset_bytes));
  }
  require(document.IsObject());
  return to_json(document);
}

std::vector<std::string> parse_param_names(std::string_view text) {
  std::vector<std::string> names;
  require(is_utf8(text) && printable(text) == text);
  while (!text.empty()) {
    const std::string_view name = trim(split_off(text, ','), " ");
    require(is_biz_param_name(name));
    names.emplace_back(name);
  }
  return names;
}

std::string parse_temperature(const std::string& text) {
  if (text.empty()) return text;
  const auto number = parse_number<double>(text);
  require(number >= 0 && number < 2);
  return fmt::format("{}", number);
}

mode_t parse_mode(std::string_view text) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  require(error == std::errc() && end == text.data() + text.size() && !text.empty() && mode <= 0777);
  return static_cast<mode_t>(mode);
}

std::vector<std::string> parse_origins(std::string_view text) {
  if (text == "*") return {};
  std::vector<std::string> origins;
  while (!text.empty()) {
    std::string_view origin = trim(split_off(text, ','), " ");
    while (origin.ends_with(' ') || origin.ends_with('/')) origin.remove_suffix(1);
    const bool is_origin =
        is_web_url(origin) && origin.find('/', origin.find("://") + 3) == std::string_view::npos;
    require(is_origin && is_visible_ascii(origin));
    origins.emplace_back(origin);
  }
  require(!origins.empty());
  return origins;
}

BotProfile read_bot_profile(const std::string& path) {
  const std::string text = read_text_file(path);
  if (!is_utf8(text))
    throw SettingFault(fmt::format("{} is not UTF-8 (if it is GBK: iconv -f GBK -t UTF-8)", path));
  try {
    return parse_bot_profile(text);
  } catch (const BotProfileError& error) {
    std::string all;
    for (const std::string& fault : error.faults()) all += (all.empty() ? "" : "; ") + fault;
    throw SettingFault(fmt::format("{}: {}", path, all));
  }
}

std::optional<LogLevel> parse_log_level(const std::string& mixed) {
  const std::string text = to_lower(mixed);
  if (text.empty()) return std::nullopt;
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == name_of(level)) return level;
  }
  throw invalid_argument("");
}

constexpr size_t kMaxBytes = size_t{1} << 30;

const std::vector<Setting> kSettings = {
    {"DASHSCOPE_API_KEY", "API_KEY", "", true, "a key of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.api_key = parse_id(v); }},
    {"DASHSCOPE_API_KEY_FILE", "", "", false, "a file that only its owner can read",
     [](Config& c, const std::string& v) {
       if (v.empty()) return;
       c.api_key_file = v;
       const std::string key = read_key_file(v);
       if (key.empty() || is_placeholder(key)) return;
       if (!c.api_key.empty()) throw SettingFault("DASHSCOPE_API_KEY is set too: keep one of the two");
       c.api_key = key;
     }},
    {"APP_ID", "", "", false, "an application id of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.app_id = parse_id(v); }},
    {"DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL", "https://dashscope.aliyuncs.com/api/v1", false,
     "an https:// URL without query (plain http only towards this machine)",
     [](Config& c, const std::string& v) { c.base_url = parse_base_url(v); }},
    {"DASHSCOPE_WORKSPACE", "", "", false, "a workspace id of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.workspace = parse_id(v); }},
    {"DASHSCOPE_PARAMETERS", "", "{}", false, "a JSON object",
     [](Config& c, const std::string& v) { c.parameters_json = parse_parameters(v); }},
    {"BIZ_PARAMS", "", "{}", true, "a JSON object",
     [](Config& c, const std::string& v) { c.biz_params_json = parse_parameters(v); }},
    {"VISITOR_PARAMS", "", "", false, "names of biz_params, separated by commas",
     [](Config& c, const std::string& v) { c.visitor_params = parse_param_names(v); }},
    {"SYSTEM_PROMPT", "", "", false, "UTF-8 text",
     [](Config& c, const std::string& v) {
       require(is_utf8(v));
       c.system_prompt = v;
     }},
    {"TEMPERATURE", "", "", false, "a number from 0 to below 2, or nothing",
     [](Config& c, const std::string& v) { c.temperature = parse_temperature(v); }},
    {"HOST", "", "", false, "an address to listen on, or nothing",
     [](Config& c, const std::string& v) {
       require(is_visible_ascii(v));
       c.host = v;
     }},
    {"PORT", "", "8000", false, "a port from 1 to 65535",
     [](Config& c, const std::string& v) { c.port = number_within<uint16_t>(v, 1, 65535); }},
    {"DEBUG", "", "False", false, "True or False",
     [](Config& c, const std::string& v) { c.debug = parse_bool(v); }},
    {"FCGI_LISTEN", "", kDefaultListen, false, "a socket path with a slash, host:port or [::1]:port",
     [](Config& c, const std::string& v) { c.listen = parse_listen_address(v); }},
    {"FCGI_SOCKET_MODE", "", "0660", false, "an octal mode from 0 to 0777",
     [](Config& c, const std::string& v) { c.socket_mode = parse_mode(v); }},
    {"WORKERS", "", "1", false, "a whole number from 1 to 64",
     [](Config& c, const std::string& v) { c.workers = number_within(v, 1, 64); }},
    {"MAX_STREAMS", "", "10000", false, "a whole number from 1 to 1000000",
     [](Config& c, const std::string& v) { c.max_streams = number_within(v, 1, 1000000); }},
    {"MAX_BODY_BYTES", "", "1048576", false, "a number of bytes from 1 to 1073741824",
     [](Config& c, const std::string& v) { c.max_body_bytes = number_within<size_t>(v, 1, kMaxBytes); }},
    {"MAX_PROMPT_BYTES", "", "32768", false, "a number of bytes from 1 to 1073741824",
     [](Config& c, const std::string& v) { c.max_prompt_bytes = number_within<size_t>(v, 1, kMaxBytes); }},
    {"MAX_HISTORY_MESSAGES", "", "40", false, "a whole number from 0 to 10000",
     [](Config& c, const std::string& v) { c.max_history_messages = number_within<size_t>(v, 0, 10000); }},
    {"CONNECT_TIMEOUT", "", "10", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.connect_timeout = positive_seconds(v); }},
    {"FIRST_TOKEN_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.first_token_timeout = positive_seconds(v); }},
    {"IDLE_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.idle_timeout = positive_seconds(v); }},
    {"TIMEOUT", "", "300", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.timeout = positive_seconds(v); }},
    {"HEARTBEAT", "", "15", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) { c.heartbeat = Seconds(number_within(v, 0.0, kMaxSeconds)); }},
    {"TOKEN_COALESCE", "", "0.5", false, "a number of milliseconds from 0 to 100",
     [](Config& c, const std::string& v) { c.token_coalesce = Milliseconds(number_within(v, 0.0, 100.0)); }},
    {"CLIENT_BUFFER_BYTES", "", "262144", false, "a number of bytes from 16384 to 1073741824",
     [](Config& c, const std::string& v) {
       c.client_buffer_bytes = number_within<size_t>(v, 16384, kMaxBytes);
     }},
    {"CLIENT_STALL_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.client_stall_timeout = positive_seconds(v); }},
    {"UPSTREAM_RETRIES", "", "1", false, "a whole number from 0 to 10",
     [](Config& c, const std::string& v) { c.upstream_retries = number_within(v, 0, 10); }},
    {"ALLOWED_ORIGINS", "", "*", false, "* or origins like https://example.com, separated by commas",
     [](Config& c, const std::string& v) { c.allowed_origins = parse_origins(v); }},
    {"BOT_CONFIG_FILE", "", "", false, "a readable JSON file",
     [](Config& c, const std::string& v) {
       c.bot_config_file = v;
       c.bot_profile = v.empty() ? default_bot_profile() : read_bot_profile(v);
     }},
    {"DRAIN_TIMEOUT", "", "60", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) { c.drain_timeout = Seconds(number_within(v, 0.0, kMaxSeconds)); }},
    {"LOG_FORMAT", "", "", false, "text or json, or nothing to go by where stderr leads",
     [](Config& c, const std::string& v) {
       require(v.empty() || v == "text" || v == "json");
       if (!v.empty()) c.log_format = v == "json" ? LogFormat::kJson : LogFormat::kText;
     }},
    {"LOG_LEVEL", "", "", false, "debug, info, warning or error, or nothing to go by DEBUG",
     [](Config& c, const std::string& v) { c.log_level = parse_log_level(v); }},
    {"LOG_FILE", "", "", false, "the path of a file, or nothing for stderr",
     [](Config& c, const std::string& v) {
       require(!v.ends_with('/') && v.find('\0') == std::string::npos);
       c.log_file = v;
     }},
    {"SLOW_FIRST_TOKEN", "", "10", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) {
       c.slow_first_token = Seconds(number_within(v, 0.0, kMaxSeconds));
     }},
    {"SLOW_ANSWER", "", "60", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) { c.slow_answer = Seconds(number_within(v, 0.0, kMaxSeconds)); }},
};

/// Where a value came from and how it reads in a message.
struct Found {
  std::string value;
  std::string where;
};
using FoundValues = std::map<std::string, Found, std::less<>>;

// Names that other programs give a meaning of their own in the environment that they share with this one.
constexpr auto kCommonNames = std::to_array<std::string_view>({"HOST", "PORT", "DEBUG"});

std::string printable(std::string text) {
  if (!is_utf8(text)) return "bytes that are not UTF-8";
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == '\x7f'; }, '?');
  return text;
}

std::string shown(const Setting& setting, const std::string& value) {
  constexpr size_t kMaxShownBytes = 80;
  const bool is_key = value.find("sk-") != std::string::npos;  // in the wrong place
  if (setting.secret || is_key) return fmt::format("a secret of {} bytes", value.size());
  if (value.size() > kMaxShownBytes) return fmt::format("a value of {} bytes", value.size());
  if (!is_utf8(value)) return "bytes that are not UTF-8 (if the file is GBK: iconv -f GBK -t UTF-8)";
  return fmt::format("\"{}\"", printable(value));
}

// Levenshtein's distance, for naming the setting that was meant.
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

class Loader {
 public:
  explicit Loader(const std::vector<std::string>& environment) {
    for (const std::string& variable : environment) {
      const size_t equals = variable.find('=');
      if (equals == std::string::npos) continue;
      const std::string key = variable.substr(0, equals);
      warn_if_misspelt(key, kEnvironment);
      environment_[key] = {variable.substr(equals + 1), std::string(kEnvironment)};
    }
  }

  void read_env_file(const std::string& path) {
    const Dotenv dotenv = parse_dotenv(read_text_file(path));
    for (const DotenvFault& fault : dotenv.faults) {
      faults_.push_back(fmt::format("{}:{}: {}", path, fault.line, fault.reason));
    }
    for (const DotenvEntry& entry : dotenv.entries) read_entry(entry, fmt::format("{}:{}", path, entry.line));
    warn_of_flask(path);
  }

  LoadedConfig load(KeyFileReader reader) {
    LoadedConfig loaded;
    Config& config = loaded.config;
    for (const Setting& setting : kSettings) apply(setting, config);
    check_key_file_mode(config, reader);
    check_workspace(config);
    warn_of_missing(config);
    if (!faults_.empty()) {
      faults_.insert(faults_.end(), warnings_.begin(), warnings_.end());
      throw ConfigError(std::move(faults_));
    }
    loaded.warnings = std::move(warnings_);
    return loaded;
  }

  void fault(std::string text) { faults_.push_back(std::move(text)); }

 private:
  static constexpr std::string_view kEnvironment = "environment";

  template <typename... Parts>
  void warn(std::string_view where, fmt::format_string<Parts...> text, Parts&&... parts) {
    warnings_.push_back(fmt::format("{}: {}", where, fmt::format(text, std::forward<Parts>(parts)...)));
  }

  // Whoever puts the key in the wrong place must not find it in the log.
  static bool may_be_shown(std::string_view name) {
    return std::all_of(name.begin(), name.end(),
                       [](unsigned char c) { return c < 0x80 && (std::isalnum(c) != 0 || c == '_'); });
  }

  // A later line outweighs an earlier one.
  void read_entry(const DotenvEntry& entry, const std::string& where) {
    if (!entry.value) {
      return warn(where, "{} has no value here, so the line is ignored",
                  may_be_shown(entry.key) ? entry.key : "the name");
    }
    warn_if_misspelt(entry.key, where);
    std::vector<std::string> missing;
    const auto find = [this](const std::string& name) -> std::optional<std::string> {
      for (const FoundValues* values : {&environment_, &file_}) {
        if (const auto found = values->find(name); found != values->end()) return found->second.value;
      }
      return std::nullopt;
    };
    std::string value = *entry.value;
    try {
      if (!entry.is_literal) value = expand_variables(value, find, missing);
    } catch (const std::length_error&) {
      return fault(fmt::format("{}: {}: its variables make the value longer than {} bytes", where,
                               printable(entry.key), kMaxExpandedBytes));
    }
    for (const std::string& name : missing) {
      warn(where, "{}: ${{{}}} is not set, neither in the environment nor above; it is read as empty",
           printable(entry.key), may_be_shown(name) ? name : "...");
    }
    file_[entry.key] = {value, where};
  }

  void warn_if_misspelt(const std::string& key, std::string_view where) {
    constexpr size_t kShortestGuessed = 5;  // HOST and PORT are near too many words
    std::string likely = key;
    for (char& c : likely)
      c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    for (const Setting& setting : kSettings) {
      if (key == setting.key || key == setting.alias) return;
    }
    // Other providers' keys share an environment with ours, so these are guessed by their first word.
    for (const std::string_view prefix : {"DASHSCOPE_", "BAILIAN_", "ALIYUN_"}) {
      if (!likely.starts_with(prefix)) continue;
      const std::string_view rest = std::string_view(likely).substr(prefix.size());
      const std::string_view meant = rest == "APP_ID" || rest == "APPLICATION_ID" ? "APP_ID"
                                     : rest == "API_KEY" || rest == "KEY"         ? "DASHSCOPE_API_KEY"
                                                                                  : "";
      if (!meant.empty()) return warn(where, "{} is not a setting; did you mean {}?", printable(key), meant);
    }
    for (const Setting& setting : kSettings) {
      const bool is_near = setting.key.size() >= kShortestGuessed && edit_distance(likely, setting.key) <= 2;
      if (is_near || (likely == setting.key && where != kEnvironment)) {
        return warn(where, "{} is not a setting; did you mean {}?", printable(key), setting.key);
      }
    }
  }

  // The program in Python had a prompt and a temperature in its code.
  void warn_of_flask(const std::string& path) {
    const auto flask = file_.lower_bound("FLASK_");
    if (flask == file_.end() || !flask->first.starts_with("FLASK_") || file_.contains("SYSTEM_PROMPT"))
      return;
    warn(path,
         "a Flask program's file without SYSTEM_PROMPT: the prompt that was in its code is not sent; "
         "SYSTEM_PROMPT= says that this is meant");
  }

  // From the strongest to the weakest.
  [[nodiscard]] std::vector<const Found*> find(const Setting& setting) const {
    std::vector<const Found*> all;
    for (const FoundValues* values : {&environment_, &file_}) {
      for (const std::string_view name : {setting.key, setting.alias}) {
        // Whose key it is that is called so in the environment, nobody knows.
        if (name.empty() || (name == "API_KEY" && values == &environment_)) continue;
        if (const auto found = values->find(name); found != values->end()) all.push_back(&found->second);
      }
    }
    return all;
  }

  void apply(const Setting& setting, Config& config) {
    for (const Found* found : find(setting)) {
      const std::string fault = fault_of(setting, config, found->value);
      if (fault.empty()) return warn_of_value(setting, config, *found);
      const bool is_common =
          found->where == kEnvironment &&
          std::find(kCommonNames.begin(), kCommonNames.end(), setting.key) != kCommonNames.end();
      if (!is_common) return faults_.push_back(fmt::format("{}: {}: {}", found->where, setting.key, fault));
      warn(found->where, "{}: {}; it is ignored, as other programs use this name too", setting.key, fault);
    }
    setting.apply(config, std::string(setting.default_text));
  }

  // Empty when the value is taken.
  static std::string fault_of(const Setting& setting, Config& config, const std::string& value) {
    try {
      setting.apply(config, value);
    } catch (const SettingFault& error) {
      return error.what();
    } catch (const std::invalid_argument& error) {
      if (is_quoted(value)) return std::string(kQuotesStay);
      return fmt::format("expected {}, found {}", *error.what() != '\0' ? error.what() : setting.expected,
                         shown(setting, value));
    }
    return "";
  }

  void warn_of_value(const Setting& setting, const Config& config, const Found& found) {
    const auto is = [&](std::string_view key) { return setting.key == key; };
    if ((is("DASHSCOPE_API_KEY") || is("APP_ID") || is("DASHSCOPE_WORKSPACE")) &&
        is_placeholder(found.value)) {
      warn(found.where, "{}: a placeholder, which counts as not set", setting.key);
    } else if (is("DASHSCOPE_BASE_URL")) {
      std::string_view url = found.value;
      while (url.ends_with('/')) url.remove_suffix(1);
      if (url != config.base_url)
        warn(found.where, "{}: {} is read as {}", setting.key, url, config.base_url);
    } else if (is_quoted(found.value)) {
      warn(found.where, "{}: {}", setting.key, kQuotesStay);
    }
  }

  [[nodiscard]] std::string where_is_key_file() const {
    const auto is_it = [](const Setting& setting) { return setting.key == "DASHSCOPE_API_KEY_FILE"; };
    const auto found = find(*std::find_if(kSettings.begin(), kSettings.end(), is_it));
    return fmt::format("{}: DASHSCOPE_API_KEY_FILE", found.empty() ? "default" : found.front()->where);
  }

  void check_key_file_mode(const Config& config, KeyFileReader reader) {
    if (config.api_key_file.empty()) return;
    const std::string fault = fault_of_key_file_mode(config.api_key_file);
    if (fault.empty()) return;
    auto& told = reader == KeyFileReader::kServiceManager ? warnings_ : faults_;
    told.push_back(fmt::format("{}: {}", where_is_key_file(), fault));
  }

  // WORKSPACE.REGION.maas.aliyuncs.com serves one workspace.
  void check_workspace(const Config& config) {
    if (!faults_.empty()) return;  // the address may be missing
    const size_t start = config.base_url.find("://") + 3;
    const std::string host = config.base_url.substr(start, config.base_url.find('/', start) - start);
    const std::string workspace = host.substr(0, host.find('.'));
    if (!host.ends_with(".maas.aliyuncs.com") || config.workspace.empty() || config.workspace == workspace)
      return;
    faults_.push_back(
        fmt::format("DASHSCOPE_WORKSPACE is {}, but DASHSCOPE_BASE_URL is the address of the workspace {}",
                    config.workspace, workspace));
  }

  void warn_of_missing(const Config& config) {
    if (!config.api_key.empty()) return;
    if (!config.api_key_file.empty() && faults_.empty()) {
      warnings_.push_back(fmt::format(
          "{}: {} holds {}", where_is_key_file(), config.api_key_file,
          read_key_file(config.api_key_file).empty() ? "no key" : "a placeholder, which counts as no key"));
    }
    if (environment_.contains("API_KEY")) {
      warn(kEnvironment, "API_KEY is not used, as other programs use this name too: set DASHSCOPE_API_KEY");
    }
  }

  FoundValues environment_;
  FoundValues file_;
  std::vector<std::string> faults_;
  std::vector<std::string> warnings_;
};

}  // namespace

const std::vector<Setting>& settings() { return kSettings; }

LogLevel least_log_level(const Config& config) {
  return config.log_level.value_or(config.debug ? LogLevel::kDebug : LogLevel::kInfo);
}

std::vector<std::string_view> keep_what_needs_a_restart(const Config& running, Config& read) {
  std::vector<std::string_view> changed;
  const auto keep = [&](std::string_view key, auto member) {
    if (read.*member == running.*member) return;
    changed.push_back(key);
    read.*member = running.*member;
  };
  keep("HOST", &Config::host);
  keep("PORT", &Config::port);
  keep("FCGI_LISTEN", &Config::listen);
  keep("FCGI_SOCKET_MODE", &Config::socket_mode);
  keep("WORKERS", &Config::workers);
  keep("MAX_STREAMS", &Config::max_streams);
  keep("TOKEN_COALESCE", &Config::token_coalesce);
  keep("LOG_FORMAT", &Config::log_format);
  keep("LOG_FILE", &Config::log_file);
  return changed;
}

LoadedConfig load_config(const std::vector<std::string>& environment,
                         const std::optional<std::string>& env_file, KeyFileReader reader) {
  Loader loader(environment);
  const std::string path = env_file.value_or(".env");
  struct stat status {};
  if (env_file || ::lstat(path.c_str(), &status) == 0) {
    try {
      loader.read_env_file(path);
    } catch (const invalid_argument& error) {
      loader.fault(error.what());
    }
  }
  return loader.load(reader);
}

}  // namespace bailian
