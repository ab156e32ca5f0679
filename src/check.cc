#include "check.h"

#include <fmt/format.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sysexits.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "php_pools.h"

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

// The user that the pool's processes run as, and all their groups; nothing for one that this machine does
// not know.
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
  int count = 256;
  std::vector<gid_t> groups(static_cast<size_t>(count), *gid);
  if (user == nullptr) {
    count = 1;
  } else if (getgrouplist(user->pw_name, *gid, groups.data(), &count) < 0) {
    count = static_cast<int>(groups.size());  // he has more; these are the first
  }
  groups.resize(static_cast<size_t>(count));
  return {{uid, groups}};
}

// Connecting takes the right to write.
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

// As far as this user may read the pools of Debian's PHP-FPM.
void warn_of_php(const Config& config, std::vector<std::string>& warnings) {
  const auto* const address = std::get_if<UnixAddress>(&config.listen);
  struct stat socket {};
  if (address == nullptr || stat(address->path.c_str(), &socket) != 0 || !S_ISSOCK(socket.st_mode)) return;
  glob_t files{};
  if (glob("/etc/php/*/fpm/pool.d/*.conf", 0, nullptr, &files) == 0) {
    for (size_t i = 0; i < std::min(files.gl_pathc, kMaxPoolFiles); ++i) {
      std::string text(kMaxPoolFileBytes, '\0');
      std::ifstream file(files.gl_pathv[i], std::ios::binary);
      file.read(text.data(), static_cast<std::streamsize>(text.size()));
      text.resize(static_cast<size_t>(file.gcount()));
      for (const PhpPool& pool : parse_php_pools(text)) {
        if (!may_connect(pool, socket)) continue;
        warnings.push_back(
            fmt::format("{}: the pool {} runs PHP as {}, who may connect to {}: any of its scripts can chat "
                        "on your bill, past "
                        "nginx's limits (deploy/README.md, \"PHP on the same machine\")",
                        files.gl_pathv[i], pool.name, pool.user, address->path));
      }
    }
  }
  globfree(&files);
}

}  // namespace

int check(const LoadedConfig& loaded, const CheckOptions& options) {
  const Config& config = loaded.config;
  std::vector<std::string> warnings = loaded.warnings;  // whatever else is looked at here appends to it
  warn_of_php(config, warnings);
  for (const std::string& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
  fmt::print("key: {}\napplication: {}\nupstream: {}\nlistens on: {}\n",
             config.api_key.empty() ? "not set, chats will get an error" : "set",
             config.app_id.empty() ? "not set, chats will get an error" : config.app_id, config.base_url,
             to_string(config.listen));
  const std::string count =
      warnings.empty() ? "" : fmt::format(", {} warning{}", warnings.size(), warnings.size() > 1 ? "s" : "");
  const bool good = warnings.empty() || !options.strict;
  fmt::print("the configuration is {}{}\n", good ? "good" : "not good", count);
  return good ? EX_OK : EX_CONFIG;
}

}  // namespace bailian
