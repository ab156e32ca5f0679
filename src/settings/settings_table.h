#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "settings/config.h"
#include "settings/parsed.h"

namespace bailian {

/// One row of the settings table, in the order of .env.example.
struct Setting {
  std::string_view key;
  std::string_view alias;  // an older name; empty when there is none
  std::string_view default_text;
  bool secret;
  std::string_view expected;  // "a number of seconds, ..."
  /// Puts the text into the configuration, or returns why it is refused.
  std::optional<ValueFault> (*apply)(Config&, const std::string& text);
};
const std::vector<Setting>& settings();

}  // namespace bailian
