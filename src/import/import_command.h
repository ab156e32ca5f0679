#pragma once

#include <string>

namespace bailian {

struct ImportOptions {
  std::string output_dir = ".";
  bool force = false;  // replaces files that are there
};

/// Turns an old config.php into .env and bot.json and tells what it took, what it could not, and what is left
/// to do. Nothing is written when either file exists and may not be replaced. Returns the exit code.
int import_config_php(const std::string& path, const ImportOptions& options);

}  // namespace bailian
