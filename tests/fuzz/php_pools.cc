// Every pool is complete, and can be written and read again.
#include "commands/php_pools.h"

#include <string>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const auto pools = parse_php_pools(fuzz::as_text(data, size));
  for (const PhpPool& pool : pools) {
    fuzz::expect(!pool.name.empty() && pool.name != "global", "a pool has a name");
    fuzz::expect(!pool.user.empty(), "a pool has a user");
    for (const std::string& text : {pool.name, pool.user, pool.group})
      fuzz::expect(text.find('\n') == text.npos, "a value ends with its line");
    if ((pool.user + pool.group).find_first_of("\"'$") != std::string::npos ||
        pool.name.find(']') != std::string::npos)
      continue;
    // Each $pool was replaced by the name: written down, the line may be longer than what is read.
    constexpr size_t kMaxValueBytes = 900;
    if (pool.user.size() > kMaxValueBytes || pool.group.size() > kMaxValueBytes) continue;
    const std::string text =
        "[" + pool.name + "]\nuser = \"" + pool.user + "\"\ngroup = \"" + pool.group + "\"";
    fuzz::expect(parse_php_pools(text) == std::vector<PhpPool>{pool},
                 "what was read can be written down again");
  }
  return 0;
}
