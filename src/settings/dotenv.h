#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

struct DotenvEntry {
  std::string key;
  std::optional<std::string> value;  // none: the line is a name alone
  int line = 0;                      // from 1
  bool is_literal = false;           // it stands in single quotes
};

struct DotenvFault {
  int line = 0;  // from 1
  std::string reason;
};

struct Dotenv {
  std::vector<DotenvEntry> entries;  // in the order of the file
  std::vector<DotenvFault> faults;
};

/// Reads what python-dotenv reads: `KEY=value`, `export KEY=value`, a name alone, comments, single quotes (\'
/// \\) and double quotes (\a \b \f \n \r \t \v \" \' \\), both of which may run over lines. A faulty line is
/// reported and skipped; the others are read.
Dotenv parse_dotenv(std::string_view text);

inline constexpr size_t kMaxExpandedBytes = size_t{1} << 20;

/// Replaces `${NAME}` and `${NAME:-otherwise}`, as python-dotenv does. `find` gives a name's value, or
/// nothing; a name without a value or an `otherwise` is replaced by nothing and added to `missing`. Returns
/// nothing when the variables make it longer than kMaxExpandedBytes.
std::optional<std::string> expand_variables(
    std::string_view text, const std::function<std::optional<std::string>(const std::string&)>& find,
    std::vector<std::string>& missing);

/// The line that parse_dotenv reads as this key and value, with its end.
std::string dotenv_line(std::string_view key, std::string_view value);

}  // namespace bailian
