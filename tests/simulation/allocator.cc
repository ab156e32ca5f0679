// Replaces operator new and delete: counts the allocations of the product, and fails those that the schedule
// chooses.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "simulation/world.h"

namespace bailian::simulation {
namespace {

struct alignas(std::max_align_t) Header {
  size_t product_bytes;  // the size plus 1; 0: the product did not allocate the block
};

bool is_inside = false;
Allocated counts;
uint64_t until_failure = 0;  // 0: never
uint64_t failures_left = 0;
bool has_failed = false;

}  // namespace

bool allocation_fails() {
  if (until_failure == 0 || --until_failure > 0) return false;
  if (--failures_left > 0) until_failure = 1;
  return has_failed = true;
}

OutsideProduct::OutsideProduct() : was_inside_(is_inside) { is_inside = false; }
OutsideProduct::~OutsideProduct() { is_inside = was_inside_; }
InsideProduct::InsideProduct() : was_inside_(is_inside) { is_inside = true; }
InsideProduct::~InsideProduct() { is_inside = was_inside_; }

Allocated allocated() { return counts; }
void reset_peak() { counts.peak_bytes = counts.bytes; }
void fail_allocations(uint64_t first, uint64_t count) {
  until_failure = count > 0 ? first : 0;
  failures_left = count;
  has_failed = false;
}
void stop_allocation_failures() { until_failure = 0; }
bool has_allocation_failed() { return has_failed; }

}  // namespace bailian::simulation

// A Header precedes each block.

void* operator new(size_t size) {
  using namespace bailian::simulation;
  if (is_inside && allocation_fails()) throw std::bad_alloc();
  auto* const header = static_cast<Header*>(std::malloc(sizeof(Header) + size));
  if (header == nullptr) std::abort();
  header->product_bytes = is_inside ? size + 1 : 0;
  if (is_inside) {
    counts.bytes += size;
    if (counts.bytes > counts.peak_bytes) counts.peak_bytes = counts.bytes;
  }
  return header + 1;
}

void operator delete(void* block) noexcept {
  using namespace bailian::simulation;
  if (block == nullptr) return;
  auto* const header = static_cast<Header*>(block) - 1;
  if (header->product_bytes > 0) {
    counts.bytes -= header->product_bytes - 1;
  }
  std::free(header);
}

void operator delete(void* block, size_t) noexcept { ::operator delete(block); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
