#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bailian {

/// A value that a setting has in one place.
struct Found {
  std::string value;
  std::string where;  // for messages: "environment", or FILE:LINE
};
using FoundValues = std::map<std::string, Found, std::less<>>;
using Names = std::set<std::string, std::less<>>;

/// The sentences for the operator, each with its place.
struct Findings {
  std::vector<std::string> faults;
  std::vector<std::string> warnings;

  template <typename... Parts>
  void warn(std::string_view where, fmt::format_string<Parts...> text, Parts&&... parts) {
    warnings.push_back(fmt::format("{}: {}", where, fmt::format(text, std::forward<Parts>(parts)...)));
  }
};

inline constexpr std::string_view kEnvironment = "environment";

/// `variables`: a list of KEY=value, as in environ.
FoundValues read_environment(const std::vector<std::string>& variables, Findings& findings);

/// Reads a .env file into `values`; a later line takes precedence. `layers`: where its `${NAME}` are looked
/// up, `values` among them, the highest precedence first. Returns their names.
Names read_env_file(const std::string& path, FoundValues& values,
                    const std::vector<const FoundValues*>& layers, Findings& findings);

/// Warns of each name in `values`, those of a file that no other program reads, that is neither a setting nor
/// one of `variables`. A misspelt one is left out, as it has a warning already.
void warn_of_unknown_names(const FoundValues& values, const Names& variables, Findings& findings);

}  // namespace bailian
