#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "import/php_lexer.h"

namespace bailian {

/// The settings in an old config.php, or in a functions.php that contains the chat's code. The
/// sentences name lines; they contain neither the key nor control characters.
struct ConfigPhp {
  std::vector<std::pair<std::string, std::string>> settings;  // for .env
  std::string bot_profile;                                    // valid JSON, pretty-printed
  std::vector<std::string> taken;
  std::vector<std::string> not_taken;
  std::vector<std::string> called;  // URLs that the old file requested, without query
};

/// Reads the file as text. Throws PhpError when it is not PHP, or when nothing in it is usable here.
ConfigPhp read_config_php(std::string_view text);

}  // namespace bailian
