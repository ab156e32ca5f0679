#include "commands/check.h"

#include <fmt/format.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "commands/cap_advice.h"
#include "commands/ledger_access.h"
#include "commands/php_pools.h"
#include "dashscope/trust_store.h"
#include "ledger/redis_check.h"
#include "settings/missing.h"
#include "settings/redis_address.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

constexpr size_t kMaxPoolFiles = 200;
constexpr size_t kMaxPoolFileBytes = 65'536;

std::optional<id_t> number_in(const std::string& text) {
  id_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The user that the pool's processes run as, and all its groups; nothing if the user does not exist on this
// machine.
std::optional<std::pair<uid_t, std::vector<gid_t>>> identity_of(const PhpPool& pool) {
  const auto number = number_in(pool.user);
  const passwd* user = number ? getpwuid(*number) : getpwnam(pool.user.c_str());
  if (user == nullptr && !number) return std::nullopt;
  const uid_t uid = user != nullptr ? user->pw_uid : *number;
  auto gid = number_in(pool.group);
  if (const group* named = gid || pool.group.empty() ? nullptr : getgrnam(pool.group.c_str()))
    gid = named->gr_gid;
  if (!gid && user != nullptr) gid = user->pw_gid;
  if (!gid) return std::nullopt;
  if (user == nullptr) return {{uid, {*gid}}};
  std::vector<gid_t> groups(256);
  int count = static_cast<int>(groups.size());
  // If there are more, it finds the first of them.
  if (getgrouplist(user->pw_name, *gid, groups.data(), &count) >= 0)
    groups.resize(static_cast<size_t>(count));
  return {{uid, groups}};
}

// Connecting to a socket requires write permission.
bool may_connect(const PhpPool& pool, const struct stat& socket) {
  const auto identity = identity_of(pool);
  if (!identity) return false;
  const auto& [uid, groups] = *identity;
  if (uid == 0) return true;
  if (uid == socket.st_uid) return (socket.st_mode & S_IWUSR) != 0;
  if (std::find(groups.begin(), groups.end(), socket.st_gid) != groups.end())
    return (socket.st_mode & S_IWGRP) != 0;
  return (socket.st_mode & S_IWOTH) != 0;
}

// Reads the pools of Debian's PHP-FPM; this user may not be able to read all of them.
void warn_of_php(const Config& config, std::vector<std::string>& warnings) {
  const auto* const address = std::get_if<UnixAddress>(&config.listen);
  struct stat socket {};
  if (address == nullptr || stat(address->path.c_str(), &socket) != 0 || !S_ISSOCK(socket.st_mode)) return;
  glob_t files{};
  if (glob("/etc/php/*/fpm/pool.d/*.conf", 0, nullptr, &files) == 0) {
    for (size_t i = 0; i < std::min(files.gl_pathc, kMaxPoolFiles); ++i) {
      const std::string text = read_file(files.gl_pathv[i], kMaxPoolFileBytes).value_or("");
      for (const PhpPool& pool : parse_php_pools(text)) {
        if (!may_connect(pool, socket)) continue;
        warnings.push_back(fmt::format(
            "{}: the pool {} runs PHP as {}, which may connect to {}: any of its scripts can chat "
            "on your bill, past "
            "nginx's limits (deploy/README.md, \"PHP on the same machine\")",
            files.gl_pathv[i], pool.name, pool.user, address->path));
      }
    }
  }
  globfree(&files);
}

constexpr const char* kServiceUser = "bailian-fcgi";

// The path of the packaged service's settings (.../bailian-fcgi/env), if root checks these.
std::optional<std::string> file_of_service(const std::optional<std::string>& env_file) {
  if (!env_file || geteuid() != 0 || getpwnam(kServiceUser) == nullptr) return std::nullopt;
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(*env_file, error);
  if (error || path.filename() != "env" || path.parent_path().filename() != "bailian-fcgi")
    return std::nullopt;
  return path;
}

// Whether that user has this access: R_OK, W_OK. In another process, because a process cannot switch back.
bool service_may(int access_wanted, const std::string& path) {
  const passwd* const user = getpwnam(kServiceUser);
  const pid_t child = user != nullptr ? fork() : -1;
  if (child == 0) {
    const bool is_user = initgroups(user->pw_name, user->pw_gid) == 0 && setgid(user->pw_gid) == 0 &&
                         setuid(user->pw_uid) == 0;
    _exit(is_user && access(path.c_str(), access_wanted) != 0 ? 1 : 0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

// The files that the service's user has to read, each with the command that lets it.
std::map<std::string, std::string> files_for_service(const Config& config, const std::string& env_file,
                                                     const std::set<std::string>& key_files) {
  std::map<std::string, std::string> files;
  const auto add = [&files](const std::string& path, int mode) {
    if (!path.empty()) files[path] = fmt::format("chgrp {0} {1} && chmod {2} {1}", kServiceUser, path, mode);
  };
  add(env_file, 640);
  add(config.bot_config_file, 640);
  add(config.bots_dir, 750);
  for (const Config& bot : config.bots) {
    add(fmt::format("{}/{}.env", config.bots_dir, bot.name), 640);
    add(bot.bot_config_file, 640);
  }
  for (const std::string& path : key_files) files[path] = fmt::format("chown {} {}", kServiceUser, path);
  return files;
}

std::vector<std::string> faults_for_service(const Config& config, const std::string& env_file,
                                            const std::set<std::string>& key_files) {
  std::vector<std::string> faults;
  for (const auto& [path, remedy] : files_for_service(config, env_file, key_files)) {
    // The unit hides these from the service, whatever their modes are (ProtectHome=).
    if (path.starts_with("/home/") || path.starts_with("/root/")) {
      faults.push_back(
          fmt::format("{}: the service cannot see this folder; put the file in /etc/bailian-fcgi", path));
    } else if (!service_may(R_OK, path)) {
      faults.push_back(
          fmt::format("{}: the service's user {} cannot read it: {}", path, kServiceUser, remedy));
    }
  }
  return faults;
}

void warn_of_other_key_file(const Config& config, const std::string& env_file,
                            std::vector<std::string>& warnings) {
  const std::string passed_on = std::filesystem::path(env_file).parent_path() / "dashscope-api-key";
  if (config.targets.front().api_key_file.empty() || config.targets.front().api_key_file == passed_on) return;
  warnings.push_back(fmt::format(
      "DASHSCOPE_API_KEY_FILE: the service does not read {}: its unit passes {} on (LoadCredential=)",
      config.targets.front().api_key_file, passed_on));
}

// All bots have the same bundle, so one sentence is enough.
void warn_of_bundle(const Config& config, std::vector<std::string>& warnings) {
  std::vector<Target> targets = config.targets;
  for (const Config& bot : config.bots) targets.insert(targets.end(), bot.targets.begin(), bot.targets.end());
  for (const Target& target : targets) {
    const auto trust = TrustStore::for_url(target.base_url);
    if (!trust || trust->fault().empty()) continue;
    warnings.push_back(trust->fault() + ": no chat can reach DashScope");
    return;
  }
}

// Of all bots.
std::string missing_for_any_chat(const Config& config) {
  std::string missing = missing_for_chats(config);
  for (const Config& bot : config.bots) {
    const std::string of_bot = missing_for_chats(bot);
    if (of_bot.empty()) continue;
    missing += fmt::format("{}{} for {}", missing.empty() ? "" : ", ", of_bot, bot.name);
  }
  return missing;
}

std::string target_line(const Target& target) {
  const std::string where = target.api_key_file.empty() ? "" : " in " + target.api_key_file;
  return fmt::format("target {}: application {}, key {}, {}", target.number,
                     target.app_id.empty() ? "not set" : target.app_id,
                     target.api_key.empty() ? "not set" + where : "set", target.base_url);
}

void print_bots(const Config& config) {
  for (const Config& bot : config.bots) {
    const std::string missing = missing_for_chats(bot);
    const bool has_several = bot.targets.size() > 1;
    std::string line = fmt::format("bot {}: ", bot.name);
    line += !missing.empty() ? fmt::format("no {}, chats will get an error", missing)
            : has_several    ? fmt::format("{} targets", bot.targets.size())
                             : fmt::format("application {}", bot.targets.front().app_id);
    if (!has_several && bot.targets.front().base_url != config.targets.front().base_url)
      line += fmt::format(", {}", bot.targets.front().base_url);
    if (!bot.bot_config_file.empty()) line += fmt::format(", profile {}", bot.bot_config_file);
    for (const auto& [host, name] : config.bot_hosts) {
      if (name == bot.name) line += fmt::format(", host {}", host);
    }
    fmt::print("{}\n", printable(line));
    for (const Target& target : has_several ? bot.targets : std::vector<Target>())
      fmt::print("{}\n", printable(fmt::format("bot {}: {}", bot.name, target_line(target))));
  }
}

void print_targets(const Config& config) {
  if (config.targets.size() > 1) {
    for (const Target& target : config.targets) fmt::print("{}\n", printable(target_line(target)));
    return;
  }
  constexpr std::string_view kNotSet = "not set, chats will get an error";
  const Target& target = config.targets.front();
  const std::string where = target.api_key_file.empty() ? "" : " in " + target.api_key_file;
  fmt::print("key: {}\n",
             target.api_key.empty() ? fmt::format("not set{}, chats will get an error", where) : "set");
  fmt::print("application: {}\n", target.app_id.empty() ? kNotSet : target.app_id);
  fmt::print("upstream: {}\n", target.base_url);
}

void print_settings(const Config& config, bool is_of_service) {
  print_targets(config);
  fmt::print("prompt: {}\n", config.system_prompt.empty()
                                 ? "the application's own"
                                 : fmt::format("SYSTEM_PROMPT ({} bytes) overrides the application's own",
                                               config.system_prompt.size()));
  fmt::print("temperature: {}\n",
             config.temperature.empty()
                 ? "the application's own"
                 : fmt::format("{} overrides the application's own", config.temperature));
  fmt::print("listens on: {}{}\n", to_string(config.listen),
             is_of_service ? ", unless bailian-fcgi.socket says otherwise" : "");
}

// Of the ledger's file, if there is one: `check` makes none, and asks no server what was used. Root becomes
// the owner of the ledger.
std::optional<LedgerReport> read_ledger(const Config& config, std::vector<std::string>& warnings) {
  if (config.ledger.empty() || !is_file_ledger(config) || ::access(config.ledger.c_str(), F_OK) != 0)
    return std::nullopt;
  const auto ledger = open_ledger_as_owner(config);
  const std::string fault = ledger->fault();
  if (fault.empty()) return ledger->report(1);
  warnings.push_back(fmt::format("LEDGER: {}", fault));
  return std::nullopt;
}

// A cap is of no use if its ledger cannot be written. systemd makes the folder that the service has by
// default.
void warn_of_ledger_folder(const Config& config, bool is_of_service, std::vector<std::string>& warnings) {
  if (!is_file_ledger(config) || !has_caps(config)) return;
  constexpr std::string_view kFolderOfService = "/var/lib/bailian-fcgi";
  const std::string folder = std::filesystem::absolute(config.ledger).parent_path();
  if (is_of_service && folder == kFolderOfService && ::access(folder.c_str(), F_OK) != 0) return;
  const bool may_write = ::access(folder.c_str(), W_OK) == 0 && (!is_of_service || service_may(W_OK, folder));
  if (!may_write) {
    warnings.push_back(fmt::format("LEDGER: {} is not there, or cannot be written: {}", folder,
                                   config.caps_open_on_fault ? "no cap holds" : "no chat is served"));
  } else if (is_of_service && folder != kFolderOfService) {
    warnings.push_back(
        fmt::format("LEDGER: the unit lets the service write to {} only; for {} it needs "
                    "ReadWritePaths=",
                    kFolderOfService, folder));
  }
}

void warn_of_redis(const Config& config, std::vector<std::string>& warnings) {
  const auto address = parse_redis_address(config.ledger);
  if (fault_in(address) != nullptr) return;  // a file
  for (std::string& sentence : redis_warnings(std::get<RedisAddress>(address)))
    warnings.push_back(std::move(sentence));
}

// The packaged service reads its key as systemd passes it on.
LoadedConfig load_as_service(const SettingsSource& source) {
  const bool is_service = file_of_service(source.env_file).has_value();
  return load_settings(source, is_service ? KeyFileReader::kServiceManager : KeyFileReader::kThisProcess);
}

std::string verdict(bool good, const std::string& missing, size_t warnings) {
  std::string text = !good ? "not good" : missing.empty() ? "good" : "not complete: it has no " + missing;
  if (warnings > 0) text += fmt::format(", {} warning{}", warnings, warnings > 1 ? "s" : "");
  return text;
}

}  // namespace

int check(const SettingsSource& source, bool strict) {
  const auto service_file = file_of_service(source.env_file);
  auto [config, warnings, texts, key_files] = load_as_service(source);
  std::vector<std::string> faults;
  for (std::string& sentence : targets_not_asked(config)) warnings.push_back(std::move(sentence));
  warn_of_php(config, warnings);
  warn_of_bundle(config, warnings);
  if (service_file) {
    faults = faults_for_service(config, *service_file, key_files);
    warn_of_other_key_file(config, *service_file, warnings);
  }
  for (std::string& sentence : cap_warnings(config)) warnings.push_back(std::move(sentence));
  warn_of_ledger_folder(config, service_file.has_value(), warnings);
  warn_of_redis(config, warnings);
  const auto ledger = read_ledger(config, warnings);
  for (const std::string& warning : warnings) fmt::print(stderr, "warning: {}\n", printable(warning));
  for (const std::string& fault : faults) fmt::print(stderr, "bailian-fcgi: {}\n", printable(fault));
  print_settings(config, service_file.has_value());
  print_bots(config);
  for (const std::string& line : cap_lines(config, ledger ? &*ledger : nullptr))
    fmt::print("{}\n", printable(line));

  const std::string missing = missing_for_any_chat(config);
  const bool good = faults.empty() && !(strict && (!warnings.empty() || !missing.empty()));
  fmt::print("the configuration is {}\n", verdict(good, missing, warnings.size()));
  return good ? EX_OK : EX_CONFIG;
}

int print_setting(const SettingsSource& source, const std::string& key) {
  const LoadedConfig loaded = load_as_service(source);
  const auto is_it = [&key](const Setting& setting) { return setting.key == key && !setting.secret; };
  if (std::none_of(settings().begin(), settings().end(), is_it)) {
    fmt::print(stderr, "bailian-fcgi: --print: {} is not a setting that can be printed\n", printable(key));
    return EX_USAGE;
  }
  const auto text = loaded.texts.find(key);
  if (text == loaded.texts.end()) return 1;
  fmt::print("{}\n", text->second);
  return EX_OK;
}

}  // namespace bailian
