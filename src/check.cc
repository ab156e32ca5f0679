#include "check.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cstdio>
#include <string>
#include <vector>

namespace bailian {

int check(const LoadedConfig& loaded, const CheckOptions& options) {
  const Config& config = loaded.config;
  std::vector<std::string> warnings = loaded.warnings;  // whatever else is looked at here appends to it
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
