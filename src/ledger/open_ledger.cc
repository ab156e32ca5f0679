#include "ledger/file_ledger.h"
#include "ledger/ledger.h"

namespace bailian {

std::unique_ptr<Ledger> open_ledger(const Config& config) {
  if (config.ledger.empty()) return nullptr;
  return std::make_unique<FileLedger>(config);
}

}  // namespace bailian
