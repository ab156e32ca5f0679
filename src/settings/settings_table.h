#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "settings/config.h"
#include "settings/parse_value.h"

namespace bailian {

/// What a setting belongs to.
enum class Scope {
  kService,  // the whole service: it stands in the environment or in .env only
  kBot,      // each bot: a bot's file may set it too
  kTarget    // likewise, and with _2 to _9 behind its name it belongs to a further target
};

/// One row of the settings table, in the order of .env.example.
struct Setting {
  std::string_view key;
  std::string_view default_text;
  std::string_view expected;  // "a number of seconds, ..."
  /// Puts the text into the configuration, or returns why it is refused.
  std::optional<ValueFault> (*apply)(Config&, const std::string& text);
  Scope scope = Scope::kService;
  std::string_view alias = {};  // an older name; empty when there is none
  bool secret = false;
};
/// Targets are numbered from 1 to this.
inline constexpr int kMaxTargets = 9;
/// The name of a setting of the target with this number: APP_ID, APP_ID_2.
std::string numbered(std::string_view key, int target);

const std::vector<Setting>& settings();

/// The setting with this name: its key, with a target's number or without, or its older name. nullptr: none.
const Setting* find_setting(std::string_view name);

/// The setting that a misspelt name was probably meant to be; empty when the name is a setting, or is not
/// similar to one. APP_ID_2 to APP_ID_9 for APP_ID_10. In the environment, which other programs share, fewer
/// names are suspected.
std::string suggested_setting(std::string_view name, bool is_in_environment);

/// An operator's text file: UTF-8 without its byte order mark, at most 4 MiB.
Parsed<std::string> read_text_file(const std::string& path);

/// The key in DASHSCOPE_API_KEY_FILE; empty when the file is, or the placeholder that it contains.
Parsed<std::string> read_key_file(const std::string& path);

/// Describes who else may read the key file; empty when no one may.
std::string fault_of_key_file_mode(const std::string& path);

}  // namespace bailian
