#include "settings/suggestion.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "settings/settings_table.h"

namespace bailian {
namespace {

// The Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

// Keys of other providers share an environment with ours, so these are recognised by their first word.
std::string_view by_prefix(std::string_view name) {
  for (const std::string_view prefix : {"DASHSCOPE_", "BAILIAN_", "ALIYUN_"}) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = name.substr(prefix.size());
    if (rest == "APP_ID" || rest == "APPLICATION_ID") return "APP_ID";
    if (rest == "API_KEY" || rest == "KEY") return "DASHSCOPE_API_KEY";
  }
  return "";
}

}  // namespace

std::string_view suggested_setting(std::string_view name, bool is_in_environment) {
  constexpr size_t kMinGuessedBytes = 5;  // HOST and PORT are similar to too many words
  for (const Setting& setting : settings()) {
    if (name == setting.key || name == setting.alias) return "";
  }
  std::string likely(name);
  for (char& c : likely) c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c & ~0x20) : c;
  if (const std::string_view meant = by_prefix(likely); !meant.empty()) return meant;
  for (const Setting& setting : settings()) {
    const bool is_near = setting.key.size() >= kMinGuessedBytes && edit_distance(likely, setting.key) <= 2;
    if (is_near || (likely == setting.key && !is_in_environment)) return setting.key;
  }
  return "";
}

}  // namespace bailian
