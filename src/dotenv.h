#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailian {

struct DotenvEntry {
  std::string key;
  std::string value;
  int line = 0;  // from 1
};

struct DotenvFault {
  int line = 0;  // from 1
  std::string expected;
};

struct Dotenv {
  std::vector<DotenvEntry> entries;  // in the order of the file
  std::vector<DotenvFault> faults;
};

/// Reads what python-dotenv reads: `KEY=value`, `export KEY=value`, comments, single quotes (literal) and
/// double quotes (\n \t \" \\), both of which may run over lines. No interpolation. A faulty line is reported
/// and skipped; the others count.
Dotenv parse_dotenv(std::string_view text);

/// The line that parse_dotenv reads as this key and value, with its end.
std::string dotenv_line(std::string_view key, std::string_view value);

}  // namespace bailian
