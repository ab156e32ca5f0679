#include "settings/config.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "settings/found_values.h"
#include "settings/missing.h"
#include "settings/parse_value.h"
#include "settings/placeholder.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

// Names with another meaning for other programs in the same environment.
constexpr auto kCommonNames = std::to_array<std::string_view>({"HOST", "PORT", "DEBUG"});

constexpr std::string_view kKey = "DASHSCOPE_API_KEY";
constexpr std::string_view kKeyFile = "DASHSCOPE_API_KEY_FILE";

std::string shown(const Setting& setting, const std::string& value) {
  constexpr size_t kMaxShownBytes = 80;
  const bool is_key = value.find("sk-") != std::string::npos;  // in the wrong place
  const bool has_password = value.find("://") != std::string::npos && value.find('@') != std::string::npos;
  if (setting.secret || is_key || has_password) return fmt::format("a secret of {} bytes", value.size());
  if (value.size() > kMaxShownBytes) return fmt::format("a value of {} bytes", value.size());
  if (!is_utf8(value)) return "bytes that are not UTF-8 (if the file is GBK: iconv -f GBK -t UTF-8)";
  return fmt::format("\"{}\"", printable(value));
}

class Loader {
 public:
  Loader(const std::vector<std::string>& environment, KeyFileReader reader)
      : environment_(read_environment(environment, findings_)), reader_(reader) {}

  void read_file(const std::string& path) {
    read_env_file(path, file_, {&environment_, &file_}, findings_);
    warn_of_flask(path);
  }

  LoadedConfig load() {
    LoadedConfig loaded;
    Config& config = loaded.config;
    for (const Setting& setting : settings()) {
      const Found* found = apply(setting, 1, config);
      if (found == nullptr) setting.apply(config, std::string(setting.default_text));
      if (found != nullptr && !setting.secret) loaded.texts.emplace(setting.key, found->value);
    }
    add_further_targets(config, "");
    warn_of_no_key(config.targets.front());
    config.bots = load_bots(config);
    check_bot_hosts(config);
    check_caps(config);
    auto& [faults, warnings] = findings_;
    if (!faults.empty()) {
      faults.insert(faults.end(), warnings.begin(), warnings.end());
      throw ConfigError(std::move(faults));
    }
    loaded.warnings = std::move(warnings);
    loaded.key_files_of_service = std::move(key_files_of_service_);
    return loaded;
  }

 private:
  // --- bots ---

  std::vector<Config> load_bots(const Config& main) {
    std::vector<Config> bots;
    if (main.bots_dir.empty()) return bots;
    const BotFiles found = list_bot_files(main.bots_dir);
    for (const auto& [sentences, all] :
         {std::pair{&found.faults, &findings_.faults}, {&found.warnings, &findings_.warnings}})
      all->insert(all->end(), sentences->begin(), sentences->end());
    for (const BotFile& file : found.files) bots.push_back(load_bot(file, main));
    return bots;
  }

  // What its file leaves out is as in `main`.
  Config load_bot(const BotFile& file, const Config& main) {
    Config bot = main;
    bot.name = file.name;
    bot.bot_hosts.clear();
    bot.max_streams = 0;
    bot.caps = {};
    FoundValues values;
    const Names variables = read_env_file(file.path, values, {&values, &environment_, &file_}, findings_);
    warn_of_unknown_names(values, variables, findings_);
    refuse_settings_of_the_service(values);
    const auto layers_of_main = std::exchange(layers_, {&values});
    // Another application must not take over with another persona, nor another account pay.
    bool has_own_targets = false;
    for (int number = 1; number <= kMaxTargets; ++number)
      has_own_targets = has_own_targets || !set_settings(number).empty();
    if (has_own_targets) {
      bot.targets.resize(1);
      forget_replaced_key(set_settings(1), bot.targets.front());
    }
    for (const Setting& setting : settings()) apply(setting, 1, bot);
    if (has_own_targets) add_further_targets(bot, file.path + ": ");
    layers_ = layers_of_main;
    return bot;
  }

  void refuse_settings_of_the_service(FoundValues& values) {
    std::erase_if(values, [this](const auto& entry) {
      const Setting* const setting = find_setting(entry.first);
      if (setting == nullptr || setting->scope != Scope::kService) return false;
      findings_.faults.push_back(
          fmt::format("{}: {} is a setting of the whole service: set it in the main file", entry.second.where,
                      entry.first));
      return true;
    });
  }

  void check_bot_hosts(const Config& config) {
    const auto hosts = find({"BOT_HOSTS", "", "", nullptr}, 1);
    for (const auto& [host, bot] : config.bot_hosts) {
      if (find_bot(config, bot) != nullptr) continue;
      findings_.faults.push_back(
          fmt::format("{}: BOT_HOSTS: {} has the bot {}, but there is no file {}.env in {}",
                      hosts.empty() ? "default" : hosts.front()->where, host, bot, bot,
                      config.bots_dir.empty() ? "BOTS_DIR, which is not set" : config.bots_dir));
    }
  }

  // Nothing would keep to them.
  void check_caps(const Config& config) {
    if (!config.ledger.empty() || !has_caps(config)) return;
    const auto found = find({"LEDGER", "", "", nullptr}, 1);
    findings_.faults.push_back(
        fmt::format("{}: LEDGER: it is empty, but caps need a ledger: remove the line, or the caps",
                    found.empty() ? kEnvironment : found.front()->where));
  }

  // --- single settings ---

  // The program in Python had a prompt and a temperature in its code.
  void warn_of_flask(const std::string& path) {
    const auto flask = file_.lower_bound("FLASK_");
    if (flask == file_.end() || !flask->first.starts_with("FLASK_") || file_.contains("SYSTEM_PROMPT"))
      return;
    findings_.warn(
        path,
        "a Flask program's file without SYSTEM_PROMPT: the prompt that was in its code is not sent; "
        "if that is intended, set SYSTEM_PROMPT=");
  }

  // Of a further target this counts as not set. An empty workspace is the key's default one.
  static bool is_left_empty(const Setting& setting, int target, const Found& found) {
    return target > 1 && found.value.empty() && setting.key != "DASHSCOPE_WORKSPACE";
  }

  // In order of precedence, highest first. Only a target's settings have a number above 1.
  [[nodiscard]] std::vector<const Found*> find(const Setting& setting, int target) const {
    std::vector<const Found*> all;
    const std::string key = numbered(setting.key, target);
    for (const FoundValues* values : layers_) {
      for (const std::string_view name : {std::string_view(key), setting.alias}) {
        // In the environment, API_KEY may be any program's key.
        if (name.empty() || (name == "API_KEY" && values == &environment_)) continue;
        if (name == setting.alias && target > 1) continue;
        const auto found = values->find(name);
        if (found == values->end() || is_left_empty(setting, target, found->second)) continue;
        all.push_back(&found->second);
      }
    }
    return all;
  }

  // The settings of this target that are set.
  [[nodiscard]] std::vector<const Setting*> set_settings(int target) const {
    std::vector<const Setting*> set;
    for (const Setting& setting : settings()) {
      if (setting.scope == Scope::kTarget && !find(setting, target).empty()) set.push_back(&setting);
    }
    return set;
  }

  // A key in one form replaces an inherited one in the other form too.
  static void forget_replaced_key(const std::vector<const Setting*>& set, Target& target) {
    if (std::ranges::any_of(set, [](const Setting* one) { return one->key.starts_with(kKey); }))
      target.api_key = target.api_key_file = "";
  }

  // A further target exists if one of its settings is set. What is not set is that of the first target.
  void add_further_targets(Config& config, std::string_view where) {
    check_key_file(config.targets.front(), where.empty());
    for (int number = 2; number <= kMaxTargets; ++number) {
      const std::vector<const Setting*> set = set_settings(number);
      if (set.empty()) continue;
      Config scratch;
      Target& target = scratch.targets.front() = config.targets.front();
      target.number = number;
      forget_replaced_key(set, target);
      for (const Setting* setting : set) apply(*setting, number, scratch);
      check_key_file(target, where.empty());
      if (!is_repetition(config.targets, target, where)) config.targets.push_back(std::move(target));
    }
    for (const Target& target : config.targets) check_workspace(target, where);
  }

  // The same application with the same key would fail again, and might bill the question twice.
  bool is_repetition(const std::vector<Target>& others, const Target& target, std::string_view where) {
    const auto same = std::ranges::find_if(others, [&target](Target other) {
      other.number = target.number;
      other.api_key_file = target.api_key_file;
      return other == target;
    });
    if (same == others.end() || !missing_for(target).empty()) return false;
    findings_.warnings.push_back(
        fmt::format("{}target {} has the key and the application of target {}, so it is not used", where,
                    target.number, same->number));
    return true;
  }

  // The value in effect; nullptr when there is none or it is faulty.
  const Found* apply(const Setting& setting, int target, Config& config) {
    if (reader_ == KeyFileReader::kNobody && setting.key == kKeyFile) return nullptr;
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
        findings_.faults.push_back(fmt::format("{}: {}: {}", found->where, key, fault));
        return nullptr;
      }
      findings_.warn(found->where, "{}: {}; it is ignored, as other programs use this name too", setting.key,
                     fault);
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
      findings_.warn(found.where, "{}: a placeholder, which counts as not set", key);
    } else if (is("DASHSCOPE_BASE_URL")) {
      std::string_view url = found.value;
      while (url.ends_with('/')) url.remove_suffix(1);
      if (url != target.base_url)
        findings_.warn(found.where, "{}: {} is read as {}", key, url, target.base_url);
    } else if (is_quoted(found.value)) {
      findings_.warn(found.where, "{}: {}", key, kQuotesStay);
    }
  }

  [[nodiscard]] std::string where_is_key_file(int target) const {
    const auto found = find({kKeyFile, "", "", nullptr}, target);
    return fmt::format("{}: {}", found.empty() ? "default" : found.front()->where,
                       numbered(kKeyFile, target));
  }

  void check_key_file(const Target& target, bool is_of_main) {
    const bool is_inherited = find({kKeyFile, "", "", nullptr}, target.number).empty();
    if (target.api_key_file.empty() || is_inherited) return;
    const bool is_first = is_of_main && target.number == 1;
    if (!is_first) key_files_of_service_.insert(target.api_key_file);
    const std::string fault = fault_of_key_file_mode(target.api_key_file);
    if (fault.empty()) return;
    // The service manager passes on the first key of the main file only.
    const bool is_passed_on = is_first && reader_ == KeyFileReader::kServiceManager;
    auto& sentences = is_passed_on ? findings_.warnings : findings_.faults;
    sentences.push_back(fmt::format("{}: {}", where_is_key_file(target.number), fault));
  }

  // WORKSPACE.REGION.maas.aliyuncs.com serves one workspace.
  void check_workspace(const Target& target, std::string_view where) {
    if (!findings_.faults.empty()) return;  // the address may be missing
    const size_t start = target.base_url.find("://") + 3;
    const std::string host = target.base_url.substr(start, target.base_url.find('/', start) - start);
    const std::string workspace = host.substr(0, host.find('.'));
    if (!host.ends_with(".maas.aliyuncs.com") || target.workspace.empty() || target.workspace == workspace)
      return;
    findings_.faults.push_back(fmt::format("{}{} is {}, but {} is the address of the workspace {}", where,
                                           numbered("DASHSCOPE_WORKSPACE", target.number), target.workspace,
                                           numbered("DASHSCOPE_BASE_URL", target.number), workspace));
  }

  void warn_of_no_key(const Target& target) {
    if (!target.api_key.empty()) return;
    if (!target.api_key_file.empty() && findings_.faults.empty()) {
      const auto key = read_key_file(target.api_key_file);
      const bool has_placeholder = fault_in(key) == nullptr && !std::get<std::string>(key).empty();
      findings_.warnings.push_back(
          fmt::format("{}: {} holds {}", where_is_key_file(target.number), target.api_key_file,
                      has_placeholder ? "a placeholder, which counts as no key" : "no key"));
    }
    if (environment_.contains("API_KEY")) {
      findings_.warn(kEnvironment,
                     "API_KEY is not used, as other programs use this name too: set DASHSCOPE_API_KEY");
    }
  }

  Findings findings_;
  std::set<std::string> key_files_of_service_;
  const FoundValues environment_;
  FoundValues file_;
  std::vector<const FoundValues*> layers_ = {&environment_, &file_};  // of the bot that is read
  const KeyFileReader reader_;
};

}  // namespace

LoadedConfig load_config(const std::vector<std::string>& environment,
                         const std::optional<std::string>& env_file, KeyFileReader reader) {
  Loader loader(environment, reader);
  const std::string path = env_file.value_or(".env");
  struct stat status {};
  if (env_file || ::lstat(path.c_str(), &status) == 0) loader.read_file(path);
  return loader.load();
}

const Config* find_bot(const Config& config, std::string_view name) {
  if (name == kDefaultBot) return &config;
  const auto bot = std::ranges::find(config.bots, name, &Config::name);
  return bot != config.bots.end() ? &*bot : nullptr;
}

LogLevel effective_log_level(const Config& config) {
  return config.log_level.value_or(config.debug ? LogLevel::kDebug : LogLevel::kInfo);
}

}  // namespace bailian
