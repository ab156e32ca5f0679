#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "settings/parse_value.h"

namespace bailian {

/// The bot that has the settings of .env.
inline constexpr std::string_view kDefaultBot = "default";
/// More would make a scrape of their metrics last longer than an event loop may be busy: 0.2 ms for each.
inline constexpr size_t kMaxBots = 250;

/// Whether `name` matches [a-z0-9][a-z0-9-]{0,31}.
bool is_bot_name(std::string_view name);

/// The settings of one further bot.
struct BotFile {
  std::string name;  // of the bot
  std::string path;
};

struct BotFiles {
  std::vector<BotFile> files;  // by name
  std::vector<std::string> faults;
  std::vector<std::string> warnings;
};

/// The files NAME.env of BOTS_DIR. Others, such as README or shop.json, are left alone.
BotFiles list_bot_files(const std::string& folder);

/// The bots of hosts; a host is in lower case, without a port.
using BotHosts = std::map<std::string, std::string, std::less<>>;

/// BOT_HOSTS: pairs like www.shop.example=shop, separated by commas. Whether the bots exist is not checked.
Parsed<BotHosts> parse_bot_hosts(const std::string& text);

/// A request's Host as it is written in BotHosts: in lower case, without a port and without a dot at the end.
std::string host_name(std::string_view host);

}  // namespace bailian
