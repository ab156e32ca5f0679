#include "config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>

#include "dotenv.h"
#include "json.h"
#include "placeholder.h"

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

constexpr double kMostSeconds = 86400;
Seconds positive_seconds(std::string_view text) { return Seconds(number_within(text, 0.001, kMostSeconds)); }

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool parse_bool(const std::string& mixed) {
  const std::string text = lower_case(mixed);
  if (text == "true" || text == "1" || text == "yes") return true;
  require(text == "false" || text == "0" || text == "no");
  return false;
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string header_safe(const std::string& text) {
  require(is_printable_ascii(text));
  return text;
}

std::string unless_placeholder(const std::string& text) {
  return is_placeholder(text) ? "" : header_safe(text);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  try {
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  } catch (const std::ios_base::failure&) {  // a directory can be opened
    file.setstate(std::ios_base::badbit);
  }
  if (!file) throw invalid_argument(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  return text;
}

// Empty when the file is.
std::string read_key_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw invalid_argument(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  // systemd lets one user read a credential by an access list, which shows in the mode as the group's right.
  // Nobody but root is in root's group.
  const mode_t others = status.st_uid == 0 && status.st_gid == 0 ? 037 : 077;
  if ((status.st_mode & others) != 0) {
    throw invalid_argument(
        fmt::format("{} can be read by others (mode {:04o}): chmod 600 it", path, status.st_mode & 07777));
  }
  std::string key = read_file(path);
  while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back())) != 0) key.pop_back();
  if (!is_printable_ascii(key)) throw invalid_argument(fmt::format("{} holds no key", path));
  return key;
}

bool is_loopback(std::string_view host) {
  in_addr number{};
  const bool is_127 =
      host.starts_with("127.") && ::inet_pton(AF_INET, std::string(host).c_str(), &number) == 1;
  return host == "localhost" || host == "[::1]" || is_127;
}

std::string parse_base_url(std::string url) {
  const std::string_view rest = [&]() -> std::string_view {
    const std::string_view view = url;
    if (view.starts_with("https://")) return view.substr(8);
    require(view.starts_with("http://"));
    return view.substr(7);
  }();
  const std::string_view authority = rest.substr(0, rest.find('/'));
  const std::string_view host =
      authority.substr(0, authority.starts_with('[') ? authority.find(']') + 1 : authority.find(':'));
  require(!host.empty() && is_printable_ascii(url) &&
          rest.find_first_of("@?#\"\\") == std::string_view::npos);
  if (url.starts_with("http://") && !is_loopback(host)) {
    throw invalid_argument("https:// (plain http only towards this machine)");
  }
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string parse_parameters(const std::string& text) {
  JsonDocument document;
  if (const auto fault = parse_json(text, document)) {
    throw invalid_argument(fmt::format("a JSON object, but {} at byte {}", fault->what, fault->offset_bytes));
  }
  require(document.IsObject());
  return to_json(document);
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
    std::string_view origin = text.substr(0, text.find(','));
    text.remove_prefix(std::min(origin.size() + 1, text.size()));
    while (origin.starts_with(' ')) origin.remove_prefix(1);
    while (origin.ends_with(' ') || origin.ends_with('/')) origin.remove_suffix(1);
    const bool is_origin = (origin.starts_with("https://") || origin.starts_with("http://")) &&
                           origin.find('/', origin.find("://") + 3) == std::string_view::npos;
    require(is_origin && is_printable_ascii(origin));
    origins.emplace_back(origin);
  }
  require(!origins.empty());
  return origins;
}

BotProfile read_bot_profile(const std::string& path) {
  try {
    return parse_bot_profile(read_file(path));
  } catch (const BotProfileError& error) {
    std::string all;
    for (const std::string& fault : error.faults()) all += (all.empty() ? "" : "; ") + fault;
    throw invalid_argument(fmt::format("a valid profile, but in {}: {}", path, all));
  }
}

std::optional<LogLevel> parse_log_level(const std::string& mixed) {
  const std::string text = lower_case(mixed);
  if (text.empty()) return std::nullopt;
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == name_of(level)) return level;
  }
  throw invalid_argument("");
}

constexpr size_t kMostBytes = size_t{1} << 30;

const std::vector<Setting> kSettings = {
    {"DASHSCOPE_API_KEY", "API_KEY", "", true, "a key of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.api_key = unless_placeholder(v); }},
    {"DASHSCOPE_API_KEY_FILE", "", "", false, "a file that only its owner can read",
     [](Config& c, const std::string& v) {
       if (v.empty()) return;
       const std::string key = read_key_file(v);
       if (key.empty()) return;
       if (!c.api_key.empty())
         throw invalid_argument("no key file beside DASHSCOPE_API_KEY: set one of the two");
       c.api_key = key;
     }},
    {"APP_ID", "", "", false, "an application id of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.app_id = unless_placeholder(v); }},
    {"DASHSCOPE_BASE_URL", "DASHSCOPE_HTTP_BASE_URL", "https://dashscope.aliyuncs.com/api/v1", false,
     "an https:// URL without query (plain http only towards this machine)",
     [](Config& c, const std::string& v) { c.base_url = parse_base_url(v); }},
    {"DASHSCOPE_WORKSPACE", "", "", false, "a workspace id of printable ASCII without spaces",
     [](Config& c, const std::string& v) { c.workspace = header_safe(v); }},
    {"DASHSCOPE_PARAMETERS", "", "{}", false, "a JSON object",
     [](Config& c, const std::string& v) { c.parameters_json = parse_parameters(v); }},
    {"SYSTEM_PROMPT", "", "Answer questions only related to digital marketing, otherwise, say I dont know",
     false, "UTF-8 text",
     [](Config& c, const std::string& v) {
       require(is_utf8(v));
       c.system_prompt = v;
     }},
    {"TEMPERATURE", "", "0.7", false, "a number from 0 to below 2, or nothing",
     [](Config& c, const std::string& v) { c.temperature = parse_temperature(v); }},
    {"HOST", "", "0.0.0.0", false, "an address to listen on",
     [](Config& c, const std::string& v) {
       require(!v.empty() && is_printable_ascii(v));
       c.host = v;
     }},
    {"PORT", "", "8000", false, "a port from 1 to 65535",
     [](Config& c, const std::string& v) { c.port = number_within<uint16_t>(v, 1, 65535); }},
    {"DEBUG", "", "True", false, "True or False",
     [](Config& c, const std::string& v) { c.debug = parse_bool(v); }},
    {"FCGI_LISTEN", "", "/run/bailian-fcgi/bailian-fcgi.sock", false,
     "a socket path with a slash, host:port or [::1]:port",
     [](Config& c, const std::string& v) { c.listen = parse_listen_address(v); }},
    {"FCGI_SOCKET_MODE", "", "0660", false, "an octal mode from 0 to 0777",
     [](Config& c, const std::string& v) { c.socket_mode = parse_mode(v); }},
    {"WORKERS", "", "1", false, "a whole number from 1 to 64",
     [](Config& c, const std::string& v) { c.workers = number_within(v, 1, 64); }},
    {"MAX_STREAMS", "", "10000", false, "a whole number from 1 to 1000000",
     [](Config& c, const std::string& v) { c.max_streams = number_within(v, 1, 1000000); }},
    {"MAX_BODY_BYTES", "", "1048576", false, "a number of bytes from 1 to 1073741824",
     [](Config& c, const std::string& v) { c.max_body_bytes = number_within<size_t>(v, 1, kMostBytes); }},
    {"MAX_PROMPT_BYTES", "", "32768", false, "a number of bytes from 1 to 1073741824",
     [](Config& c, const std::string& v) { c.max_prompt_bytes = number_within<size_t>(v, 1, kMostBytes); }},
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
     [](Config& c, const std::string& v) { c.heartbeat = Seconds(number_within(v, 0.0, kMostSeconds)); }},
    {"TOKEN_COALESCE", "", "0.5", false, "a number of milliseconds from 0 to 100",
     [](Config& c, const std::string& v) { c.token_coalesce = Milliseconds(number_within(v, 0.0, 100.0)); }},
    {"CLIENT_BUFFER_BYTES", "", "262144", false, "a number of bytes from 16384 to 1073741824",
     [](Config& c, const std::string& v) {
       c.client_buffer_bytes = number_within<size_t>(v, 16384, kMostBytes);
     }},
    {"CLIENT_STALL_TIMEOUT", "", "60", false, "a number of seconds from 0.001 to 86400",
     [](Config& c, const std::string& v) { c.client_stall_timeout = positive_seconds(v); }},
    {"UPSTREAM_RETRIES", "", "1", false, "a whole number from 0 to 10",
     [](Config& c, const std::string& v) { c.upstream_retries = number_within(v, 0, 10); }},
    {"ALLOWED_ORIGINS", "", "*", false, "* or origins like https://example.com, separated by commas",
     [](Config& c, const std::string& v) { c.allowed_origins = parse_origins(v); }},
    {"BOT_CONFIG_FILE", "", "", false, "a readable JSON file",
     [](Config& c, const std::string& v) {
       c.bot_profile = v.empty() ? default_bot_profile() : read_bot_profile(v);
     }},
    {"DRAIN_TIMEOUT", "", "60", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) { c.drain_timeout = Seconds(number_within(v, 0.0, kMostSeconds)); }},
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
       c.slow_first_token = Seconds(number_within(v, 0.0, kMostSeconds));
     }},
    {"SLOW_ANSWER", "", "60", false, "a number of seconds from 0 to 86400",
     [](Config& c, const std::string& v) { c.slow_answer = Seconds(number_within(v, 0.0, kMostSeconds)); }},
};

/// Where a value came from and how it reads in a message.
struct Found {
  std::string value;
  std::string where;
};

std::string shown(const Setting& setting, const std::string& value) {
  constexpr size_t kMaxShownBytes = 80;
  if (setting.secret) return fmt::format("a secret of {} bytes", value.size());
  if (value.size() > kMaxShownBytes) return fmt::format("a value of {} bytes", value.size());
  return fmt::format("\"{}\"", value);
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
  void read_env_file(const std::string& path) {
    const Dotenv dotenv = parse_dotenv(read_file(path));
    for (const DotenvFault& fault : dotenv.faults) {
      faults_.push_back(fmt::format("{}:{}: {}", path, fault.line, fault.expected));
    }
    for (const DotenvEntry& entry : dotenv.entries) {
      add(entry.key, {entry.value, fmt::format("{}:{}", path, entry.line)});
    }
  }

  void read_environment(const std::vector<std::string>& environment) {
    for (const std::string& variable : environment) {
      const size_t equals = variable.find('=');
      if (equals != std::string::npos)
        add(variable.substr(0, equals), {variable.substr(equals + 1), "environment"});
    }
  }

  LoadedConfig load() {
    LoadedConfig loaded;
    for (const Setting& setting : kSettings) apply(setting, loaded.config);
    if (!faults_.empty()) {
      faults_.insert(faults_.end(), warnings_.begin(), warnings_.end());
      throw ConfigError(std::move(faults_));
    }
    warn_of_empty_key_file(loaded.config);
    loaded.warnings = std::move(warnings_);
    return loaded;
  }

  void fault(std::string text) { faults_.push_back(std::move(text)); }

 private:
  // A later call outweighs an earlier one, and a name its alias in the same place.
  void add(const std::string& key, Found found) {
    for (const Setting& setting : kSettings) {
      if (key == setting.key || (!setting.alias.empty() && key == setting.alias)) {
        found_[key] = std::move(found);
        return;
      }
    }
    warn_if_misspelt(key, found.where);
  }

  void warn_if_misspelt(const std::string& key, const std::string& where) {
    constexpr size_t kShortestGuessed = 5;  // HOST and PORT are near too many words
    for (const Setting& setting : kSettings) {
      if (setting.key.size() >= kShortestGuessed && edit_distance(key, setting.key) <= 2) {
        warnings_.push_back(
            fmt::format("{}: {} is not a setting; did you mean {}?", where, key, setting.key));
        return;
      }
    }
  }

  [[nodiscard]] const Found* find(const Setting& setting) const {
    const auto named = found_.find(setting.key);
    const auto aliased = setting.alias.empty() ? found_.end() : found_.find(setting.alias);
    if (named == found_.end()) return aliased == found_.end() ? nullptr : &aliased->second;
    const bool alias_wins = aliased != found_.end() && aliased->second.where == "environment" &&
                            named->second.where != "environment";
    return alias_wins ? &aliased->second : &named->second;
  }

  void apply(const Setting& setting, Config& config) {
    const Found* found = find(setting);
    try {
      setting.apply(config, found != nullptr ? found->value : std::string(setting.default_text));
    } catch (const std::invalid_argument& error) {
      const std::string_view expected = *error.what() != '\0' ? error.what() : setting.expected;
      faults_.push_back(fmt::format("{}: {}: expected {}, found {}",
                                    found != nullptr ? found->where : "default", setting.key, expected,
                                    shown(setting, found != nullptr ? found->value : std::string())));
    }
  }

  void warn_of_empty_key_file(const Config& config) {
    const auto file = found_.find("DASHSCOPE_API_KEY_FILE");
    if (file == found_.end() || file->second.value.empty() || !config.api_key.empty()) return;
    warnings_.push_back(
        fmt::format("{}: DASHSCOPE_API_KEY_FILE: {} holds no key", file->second.where, file->second.value));
  }

  std::map<std::string, Found, std::less<>> found_;
  std::vector<std::string> faults_;
  std::vector<std::string> warnings_;
};

}  // namespace

const std::vector<Setting>& settings() { return kSettings; }

LogLevel least_log_level(const Config& config) {
  return config.log_level.value_or(config.debug ? LogLevel::kDebug : LogLevel::kInfo);
}

ListenAddress parse_listen_address(std::string_view text) {
  if (text.find('/') != std::string_view::npos) {
    require(text.find('\0') == std::string_view::npos);
    if (text.size() >= sizeof(sockaddr_un::sun_path)) {
      throw invalid_argument(fmt::format("a path shorter than {} bytes", sizeof(sockaddr_un::sun_path)));
    }
    return UnixAddress{std::string(text)};
  }
  const size_t colon = text.rfind(':');
  require(colon != std::string_view::npos);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else {
    require(host.find(':') == std::string_view::npos);
  }
  require(!host.empty() && is_printable_ascii(host));
  return TcpAddress{std::string(host), number_within<uint16_t>(text.substr(colon + 1), 0, 65535)};
}

std::string to_string(const ListenAddress& address) {
  if (const auto* local = std::get_if<UnixAddress>(&address)) return local->path;
  const auto& tcp = std::get<TcpAddress>(address);
  if (tcp.host.find(':') != std::string::npos) return fmt::format("[{}]:{}", tcp.host, tcp.port);
  return fmt::format("{}:{}", tcp.host, tcp.port);
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
                         const std::optional<std::string>& env_file) {
  Loader loader;
  const std::string path = env_file.value_or(".env");
  struct stat status {};
  if (env_file || ::lstat(path.c_str(), &status) == 0) {
    try {
      loader.read_env_file(path);
    } catch (const invalid_argument& error) {
      loader.fault(error.what());
    }
  }
  loader.read_environment(environment);
  return loader.load();
}

}  // namespace bailian
