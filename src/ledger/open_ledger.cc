#include "ledger/file_ledger.h"
#include "ledger/ledger.h"
#include "ledger/redis_ledger.h"

namespace bailian {

std::unique_ptr<Ledger> open_ledger(const Config& config, LedgerUse use) {
  if (config.ledger.empty()) return nullptr;
  if (!is_redis_url(config.ledger)) return std::make_unique<FileLedger>(config);
  return std::make_unique<RedisLedger>(config, RedisLedger::Options{.waits = use == LedgerUse::kCommand});
}

}  // namespace bailian
