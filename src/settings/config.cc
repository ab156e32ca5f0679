#include "settings/config.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "settings/dotenv.h"
#include "settings/parse_value.h"
#include "settings/placeholder.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

/// The source of a value and its form in a message.
struct Found {
  std::string value;
  std::string where;
};
using FoundValues = std::map<std::string, Found, std::less<>>;

// Names with another meaning for other programs in the same environment.
constexpr auto kCommonNames = std::to_array<std::string_view>({"HOST", "PORT", "DEBUG"});

constexpr std::string_view kKey = "DASHSCOPE_API_KEY";
constexpr std::string_view kKeyFile = "DASHSCOPE_API_KEY_FILE";

std::string shown(const Setting& setting, const std::string& value) {
  constexpr size_t kMaxShownBytes = 80;
  const bool is_key = value.find("sk-") != std::string::npos;  // in the wrong place
  if (setting.secret || is_key) return fmt::format("a secret of {} bytes", value.size());
  if (value.size() > kMaxShownBytes) return fmt::format("a value of {} bytes", value.size());
  if (!is_utf8(value)) return "bytes that are not UTF-8 (if the file is GBK: iconv -f GBK -t UTF-8)";
  return fmt::format("\"{}\"", printable(value));
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
    const auto text = read_text_file(path);
    if (const ValueFault* fault = fault_in(text)) return faults_.push_back(fault->sentence);
    const Dotenv dotenv = parse_dotenv(std::get<std::string>(text));
    for (const DotenvFault& fault : dotenv.faults) {
      faults_.push_back(fmt::format("{}:{}: {}", path, fault.line, fault.reason));
    }
    for (const DotenvEntry& entry : dotenv.entries) read_entry(entry, fmt::format("{}:{}", path, entry.line));
    warn_of_flask(path);
  }

  LoadedConfig load(KeyFileReader reader) {
    LoadedConfig loaded;
    Config& config = loaded.config;
    for (const Setting& setting : settings()) {
      const Found* found = apply(setting, 1, config);
      if (found == nullptr) setting.apply(config, std::string(setting.default_text));
      if (found != nullptr && !setting.secret) loaded.texts.emplace(setting.key, found->value);
    }
    for (int number = 2; number <= kMaxTargets; ++number) add_further_target(number, config);
    for (const Target& target : config.targets) {
      check_key_file_mode(target, reader);
      check_workspace(target);
    }
    warn_of_missing(config.targets.front());
    if (!faults_.empty()) {
      faults_.insert(faults_.end(), warnings_.begin(), warnings_.end());
      throw ConfigError(std::move(faults_));
    }
    loaded.warnings = std::move(warnings_);
    return loaded;
  }

 private:
  static constexpr std::string_view kEnvironment = "environment";

  template <typename... Parts>
  void warn(std::string_view where, fmt::format_string<Parts...> text, Parts&&... parts) {
    warnings_.push_back(fmt::format("{}: {}", where, fmt::format(text, std::forward<Parts>(parts)...)));
  }

  // A key in the wrong place must not get into the log.
  static bool may_be_shown(std::string_view name) {
    return std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_'; });
  }

  // A later line takes precedence over an earlier one.
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
    auto value = entry.is_literal ? entry.value : expand_variables(*entry.value, find, missing);
    if (!value) {
      return faults_.push_back(fmt::format("{}: {}: its variables make the value longer than {} bytes", where,
                                           printable(entry.key), kMaxExpandedBytes));
    }
    for (const std::string& name : missing) {
      warn(where, "{}: ${{{}}} is not set, neither in the environment nor above; it is read as empty",
           printable(entry.key), may_be_shown(name) ? name : "...");
    }
    file_[entry.key] = {std::move(*value), where};
  }

  void warn_if_misspelt(const std::string& key, std::string_view where) {
    const std::string_view meant = suggested_setting(key, where == kEnvironment);
    if (!meant.empty()) warn(where, "{} is not a setting; did you mean {}?", printable(key), meant);
  }

  // The program in Python had a prompt and a temperature in its code.
  void warn_of_flask(const std::string& path) {
    const auto flask = file_.lower_bound("FLASK_");
    if (flask == file_.end() || !flask->first.starts_with("FLASK_") || file_.contains("SYSTEM_PROMPT"))
      return;
    warn(path,
         "a Flask program's file without SYSTEM_PROMPT: the prompt that was in its code is not sent; "
         "if that is intended, set SYSTEM_PROMPT=");
  }

  // In order of precedence, highest first. Only a target's settings have a number above 1.
  [[nodiscard]] std::vector<const Found*> find(const Setting& setting, int target) const {
    std::vector<const Found*> all;
    const std::string key = numbered(setting.key, target);
    for (const FoundValues* values : {&environment_, &file_}) {
      for (const std::string_view name : {std::string_view(key), setting.alias}) {
        // In the environment, API_KEY may be any program's key.
        if (name.empty() || (name == "API_KEY" && values == &environment_)) continue;
        if (name == setting.alias && target > 1) continue;
        if (const auto found = values->find(name); found != values->end()) all.push_back(&found->second);
      }
    }
    return all;
  }

  // A further target exists if one of its settings is set. What is not set is that of the first target; a key
  // in one form replaces the other form too.
  void add_further_target(int number, Config& config) {
    std::vector<const Setting*> own;
    for (const Setting& setting : settings()) {
      if (setting.of_target && !find(setting, number).empty()) own.push_back(&setting);
    }
    if (own.empty()) return;
    Config scratch;
    Target& target = scratch.targets.front() = config.targets.front();
    target.number = number;
    if (std::ranges::any_of(own, [](const Setting* one) { return one->key.starts_with(kKey); }))
      target.api_key = target.api_key_file = "";
    for (const Setting* setting : own) apply(*setting, number, scratch);
    config.targets.push_back(std::move(target));
  }

  // The value in effect; nullptr when there is none or it is faulty.
  const Found* apply(const Setting& setting, int target, Config& config) {
    const std::string key = numbered(setting.key, target);
    for (const Found* found : find(setting, target)) {
      const std::string fault = fault_of(setting, config, found->value);
      if (fault.empty()) {
        warn_of_value(setting, key, config.targets.front(), *found);
        return found;
      }
      const bool is_common =
          found->where == kEnvironment && std::ranges::find(kCommonNames, setting.key) != kCommonNames.end();
      if (!is_common) {
        faults_.push_back(fmt::format("{}: {}: {}", found->where, key, fault));
        return nullptr;
      }
      warn(found->where, "{}: {}; it is ignored, as other programs use this name too", setting.key, fault);
    }
    return nullptr;
  }

  // Empty when the value is taken.
  static std::string fault_of(const Setting& setting, Config& config, const std::string& value) {
    const auto fault = setting.apply(config, value);
    if (!fault) return "";
    if (!fault->sentence.empty()) return fault->sentence;
    if (is_quoted(value)) return std::string(kQuotesStay);
    return fmt::format("expected {}, found {}", fault->expected.empty() ? setting.expected : fault->expected,
                       shown(setting, value));
  }

  // `target`: the one that the value is in.
  void warn_of_value(const Setting& setting, const std::string& key, const Target& target,
                     const Found& found) {
    const auto is = [&](std::string_view name) { return setting.key == name; };
    if ((is("DASHSCOPE_API_KEY") || is("APP_ID") || is("DASHSCOPE_WORKSPACE")) &&
        is_placeholder(found.value)) {
      warn(found.where, "{}: a placeholder, which counts as not set", key);
    } else if (is("DASHSCOPE_BASE_URL")) {
      std::string_view url = found.value;
      while (url.ends_with('/')) url.remove_suffix(1);
      if (url != target.base_url) warn(found.where, "{}: {} is read as {}", key, url, target.base_url);
    } else if (is_quoted(found.value)) {
      warn(found.where, "{}: {}", key, kQuotesStay);
    }
  }

  [[nodiscard]] std::string where_is_key_file(int target) const {
    const auto found = find({kKeyFile, "", "", nullptr}, target);
    return fmt::format("{}: {}", found.empty() ? "default" : found.front()->where,
                       numbered(kKeyFile, target));
  }

  void check_key_file_mode(const Target& target, KeyFileReader reader) {
    const bool is_inherited = target.number > 1 && find({kKeyFile, "", "", nullptr}, target.number).empty();
    if (target.api_key_file.empty() || is_inherited) return;
    const std::string fault = fault_of_key_file_mode(target.api_key_file);
    if (fault.empty()) return;
    auto& sentences = reader == KeyFileReader::kServiceManager ? warnings_ : faults_;
    sentences.push_back(fmt::format("{}: {}", where_is_key_file(target.number), fault));
  }

  // WORKSPACE.REGION.maas.aliyuncs.com serves one workspace.
  void check_workspace(const Target& target) {
    if (!faults_.empty()) return;  // the address may be missing
    const size_t start = target.base_url.find("://") + 3;
    const std::string host = target.base_url.substr(start, target.base_url.find('/', start) - start);
    const std::string workspace = host.substr(0, host.find('.'));
    if (!host.ends_with(".maas.aliyuncs.com") || target.workspace.empty() || target.workspace == workspace)
      return;
    faults_.push_back(fmt::format("{} is {}, but {} is the address of the workspace {}",
                                  numbered("DASHSCOPE_WORKSPACE", target.number), target.workspace,
                                  numbered("DASHSCOPE_BASE_URL", target.number), workspace));
  }

  void warn_of_missing(const Target& target) {
    if (!target.api_key.empty()) return;
    if (!target.api_key_file.empty() && faults_.empty()) {
      const auto key = read_key_file(target.api_key_file);
      const bool has_placeholder = fault_in(key) == nullptr && !std::get<std::string>(key).empty();
      warnings_.push_back(fmt::format("{}: {} holds {}", where_is_key_file(target.number),
                                      target.api_key_file,
                                      has_placeholder ? "a placeholder, which counts as no key" : "no key"));
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

LoadedConfig load_config(const std::vector<std::string>& environment,
                         const std::optional<std::string>& env_file, KeyFileReader reader) {
  Loader loader(environment);
  const std::string path = env_file.value_or(".env");
  struct stat status {};
  if (env_file || ::lstat(path.c_str(), &status) == 0) loader.read_env_file(path);
  return loader.load(reader);
}

LogLevel effective_log_level(const Config& config) {
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

}  // namespace bailian
