#pragma once

#include <malloc.h>

#include <cstddef>

namespace bailian {

/// Bytes that the process has allocated and not freed. A sanitizer's allocator does not count them.
inline size_t allocated_bytes() {
  const struct mallinfo2 heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

}  // namespace bailian
