#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "import/php_lexer.h"

namespace bailian {

/// What an old config.php (or the functions.php of a theme with the chat's snippet in it) means for this
/// program. The sentences name lines; they never hold the key and no byte that a terminal would obey.
struct ConfigPhp {
  std::vector<std::pair<std::string, std::string>> settings;  // for .env
  std::string bot_profile;                                    // valid JSON, on lines for people
  std::vector<std::string> taken;
  std::vector<std::string> not_taken;
  std::vector<std::string> called;  // URLs that the old file asked, without query
};

/// Reads the file as text. Throws PhpError when it is no PHP, or when nothing in it is of use here.
ConfigPhp read_config_php(std::string_view text);

}  // namespace bailian
