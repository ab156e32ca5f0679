#pragma once

#include <cstdint>

namespace bailian {

// Locks on single bytes of an open file, by which processes agree. They belong to the open file: threads that
// share it do not exclude each other, and the kernel frees them when the process ends, however it ends.

/// False: another open file has it.
bool try_lock_byte(int fd, int64_t byte);
/// Whether another open file has it.
bool is_byte_locked(int fd, int64_t byte) noexcept;
void unlock_byte(int fd, int64_t byte) noexcept;

}  // namespace bailian
