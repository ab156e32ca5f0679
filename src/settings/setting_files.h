#pragma once

#include <string>

#include "settings/bot_profile.h"
#include "settings/parsed.h"

namespace bailian {

/// An operator's text file: UTF-8 without its byte order mark, at most 4 MiB.
Parsed<std::string> read_text_file(const std::string& path);

/// The key in DASHSCOPE_API_KEY_FILE; empty when the file is, or the placeholder that it contains.
Parsed<std::string> read_key_file(const std::string& path);

/// Describes who else may read the key file; empty when no one may.
std::string fault_of_key_file_mode(const std::string& path);

/// Without a path the default profile.
Parsed<BotProfile> read_bot_profile(const std::string& path);

}  // namespace bailian
