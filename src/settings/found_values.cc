#include "settings/found_values.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "base/text.h"
#include "settings/dotenv.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

// Of the faults of one file. A file that is no text has one in each line.
constexpr size_t kMaxShownFaults = 10;

// A key in the wrong place must not get into the log.
bool may_be_shown(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_'; });
}

void warn_if_misspelt(const std::string& key, std::string_view where, Findings& findings) {
  const std::string meant = suggested_setting(key, where == kEnvironment);
  if (!meant.empty()) findings.warn(where, "{} is not a setting; did you mean {}?", printable(key), meant);
}

void read_entry(const DotenvEntry& entry, const std::string& where, FoundValues& values,
                const std::vector<const FoundValues*>& layers, Names& variables, Findings& findings) {
  if (!entry.value) {
    return findings.warn(where, "{} has no value here, so the line is ignored",
                         may_be_shown(entry.key) ? entry.key : "the name");
  }
  warn_if_misspelt(entry.key, where, findings);
  std::vector<std::string> missing;
  const auto find = [&layers, &variables](const std::string& name) -> std::optional<std::string> {
    variables.insert(name);
    for (const FoundValues* layer : layers) {
      if (const auto found = layer->find(name); found != layer->end()) return found->second.value;
    }
    return std::nullopt;
  };
  auto value = entry.is_literal ? entry.value : expand_variables(*entry.value, find, missing);
  if (!value) {
    return findings.faults.push_back(fmt::format("{}: {}: its variables make the value longer than {} bytes",
                                                 where, printable(entry.key), kMaxExpandedBytes));
  }
  for (const std::string& name : missing) {
    findings.warn(where, "{}: ${{{}}} is not set, neither in the environment nor above; it is read as empty",
                  printable(entry.key), may_be_shown(name) ? name : "...");
  }
  values[entry.key] = {std::move(*value), where};
}

}  // namespace

FoundValues read_environment(const std::vector<std::string>& variables, Findings& findings) {
  FoundValues values;
  for (const std::string& variable : variables) {
    const size_t equals = variable.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = variable.substr(0, equals);
    warn_if_misspelt(key, kEnvironment, findings);
    values[key] = {variable.substr(equals + 1), std::string(kEnvironment)};
  }
  return values;
}

Names read_env_file(const std::string& path, FoundValues& values,
                    const std::vector<const FoundValues*>& layers, Findings& findings) {
  Names variables;
  const auto text = read_text_file(path);
  if (const ValueFault* fault = fault_in(text)) {
    findings.faults.push_back(fault->sentence);
    return variables;
  }
  const Dotenv dotenv = parse_dotenv(std::get<std::string>(text));
  const size_t shown = std::min(dotenv.faults.size(), kMaxShownFaults);
  for (size_t i = 0; i < shown; ++i)
    findings.faults.push_back(fmt::format("{}:{}: {}", path, dotenv.faults[i].line, dotenv.faults[i].reason));
  if (const size_t more = dotenv.faults.size() - shown; more > 0)
    findings.faults.push_back(fmt::format("{}: {} more lines have such faults", path, more));
  for (const DotenvEntry& entry : dotenv.entries)
    read_entry(entry, fmt::format("{}:{}", path, entry.line), values, layers, variables, findings);
  return variables;
}

void warn_of_unknown_names(const FoundValues& values, const Names& variables, Findings& findings) {
  for (const auto& [name, found] : values) {
    const bool is_noted = find_setting(name) != nullptr || !suggested_setting(name, false).empty();
    if (is_noted || variables.contains(name)) continue;
    findings.warn(found.where, "{} is not a setting", may_be_shown(name) ? name : "the name");
  }
}

}  // namespace bailian
