#include "random_id.h"

#include <cstdint>

namespace bailian::simulator {

std::string RandomId::hex(std::size_t digits) {
  std::string id;
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < digits; ++i, bits >>= 4U) {
    if (i % 16 == 0) bits = engine_();
    id += "0123456789abcdef"[bits & 15U];
  }
  return id;
}

// UUID version 9, like DashScope's request ids.
std::string RandomId::uuid() {
  std::string id = hex(32);
  id[12] = '9';
  id[16] = "89ab"[engine_() & 3U];
  for (const std::size_t dash : {8U, 13U, 18U, 23U}) id.insert(dash, 1, '-');
  return id;
}

}  // namespace bailian::simulator
