#include "commands/php_pools.h"

#include "base/text.h"

namespace bailian {
namespace {

// Replacing many $pool by a long pool name would take much memory.
constexpr size_t kMaxLineBytes = 1000;

// PHP-FPM replaces each $pool by the pool's name.
std::string value_of(std::string_view text, std::string_view pool) {
  if (text.starts_with('"') || text.starts_with('\'')) {
    const char quote = text.front();
    text.remove_prefix(1);
    text = text.substr(0, text.find(quote));
  } else {
    text = trim(text.substr(0, text.find(';')));
  }
  constexpr std::string_view kPool = "$pool";
  std::string value;
  for (size_t at = text.find(kPool); at != text.npos; at = text.find(kPool)) {
    value.append(text.substr(0, at)).append(pool);
    text.remove_prefix(at + kPool.size());
  }
  return value.append(text);
}

}  // namespace

std::vector<PhpPool> parse_php_pools(std::string_view text) {
  std::vector<PhpPool> pools;
  PhpPool pool;
  const auto end_pool = [&] {
    if (!pool.name.empty() && pool.name != "global" && !pool.user.empty()) pools.push_back(pool);
    pool = {};
  };
  while (!text.empty()) {
    const std::string_view line = trim(split_off(text, '\n'));
    if (line.size() > kMaxLineBytes) continue;
    if (line.starts_with('[')) {
      end_pool();
      pool.name = line.substr(1, line.find(']') - 1);
      continue;
    }
    const size_t equals = line.find('=');
    if (line.starts_with(';') || line.starts_with('#') || equals == line.npos) continue;
    const std::string_view key = trim(line.substr(0, equals));
    if (key == "user") pool.user = value_of(trim(line.substr(equals + 1)), pool.name);
    if (key == "group") pool.group = value_of(trim(line.substr(equals + 1)), pool.name);
  }
  end_pool();
  return pools;
}

}  // namespace bailian
