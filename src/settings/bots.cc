#include "settings/bots.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/text.h"

namespace bailian {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".env";

bool is_bot_char(char c) { return (c >= 'a' && c <= 'z') || is_digit(c); }

// What editors and dpkg leave behind.
bool is_leftover(std::string_view file) {
  return file.starts_with('.') || file.ends_with('~') || file.find(".dpkg-") != std::string_view::npos;
}

// Reading a FIFO would wait for its writer.
bool is_special_file(const fs::directory_entry& entry) {
  std::error_code ignored;
  const fs::file_type type = entry.status(ignored).type();
  return type != fs::file_type::regular && type != fs::file_type::directory &&
         type != fs::file_type::not_found && type != fs::file_type::none;
}

void add_file(BotFiles& bots, const fs::directory_entry& entry) {
  const std::string path = entry.path().string();
  const std::string file = entry.path().filename().string();
  if (is_leftover(file)) return;
  if (!file.ends_with(kEnding)) {
    if (to_lower(file).find(kEnding) != std::string::npos)
      bots.warnings.push_back(fmt::format("{}: not read, as its name does not end in .env", path));
    return;
  }
  std::string name = file.substr(0, file.size() - kEnding.size());
  if (name == kDefaultBot) {
    bots.faults.push_back(
        fmt::format("{}: the settings of the bot \"default\" are in the main file: move them there", path));
  } else if (!is_bot_name(name)) {
    bots.faults.push_back(
        fmt::format("{}: a bot's name has 1 to 32 characters of a-z, 0-9 and -, and begins with a letter or "
                    "digit: rename the file",
                    path));
  } else if (is_special_file(entry)) {
    bots.faults.push_back(fmt::format("{}: not a regular file", path));
  } else {
    bots.files.push_back({std::move(name), path});
  }
}

bool is_host(std::string_view host) {
  const auto is_host_char = [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_'; };
  return !host.empty() && !host.starts_with('.') && std::ranges::all_of(host, is_host_char);
}

}  // namespace

bool is_bot_name(std::string_view name) {
  constexpr size_t kMaxNameBytes = 32;
  return !name.empty() && name.size() <= kMaxNameBytes && is_bot_char(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_bot_char(c) || c == '-'; });
}

BotFiles list_bot_files(const std::string& folder) {
  BotFiles bots;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) add_file(bots, *entry);
  if (error) bots.faults.push_back(fmt::format("BOTS_DIR: cannot read {}: {}", folder, error.message()));
  if (bots.files.size() > kMaxBots)
    bots.faults.push_back(fmt::format("BOTS_DIR: {} has more than {} bots", folder, kMaxBots));
  std::ranges::sort(bots.files, {}, &BotFile::name);
  for (auto* sentences : {&bots.faults, &bots.warnings}) std::ranges::sort(*sentences);
  return bots;
}

Parsed<BotHosts> parse_bot_hosts(const std::string& text) {
  BotHosts hosts;
  for (std::string_view rest = text; !trim(rest).empty();) {
    std::string_view bot = trim(split_off(rest, ','));
    const std::string_view host = trim(split_off(bot, '='));
    bot = trim(bot);
    if (!is_bot_name(bot)) return not_expected();
    if (!is_host(host))
      return not_expected("a host without scheme, port and path before each = (xn--... for other scripts)");
    if (!hosts.emplace(host_name(host), bot).second)
      return refused(fmt::format("the host {} appears twice", host));
  }
  return hosts;
}

std::string host_name(std::string_view host) {
  const size_t colon = host.find_last_of(":]");  // [::1] has colons of its own
  if (colon != std::string_view::npos && host[colon] == ':') host = host.substr(0, colon);
  if (host.ends_with('.')) host.remove_suffix(1);
  return to_lower(host);
}

}  // namespace bailian
