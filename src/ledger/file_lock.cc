#include "ledger/file_lock.h"

#include <fcntl.h>

#include <cerrno>

#include "base/file.h"

namespace bailian {
namespace {

struct flock lock_on(int64_t byte, short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

int set_lock(int fd, int64_t byte, short type) noexcept {
  struct flock lock = lock_on(byte, type);
  return ::fcntl(fd, F_OFD_SETLK, &lock);
}

}  // namespace

bool try_lock_byte(int fd, int64_t byte) {
  if (set_lock(fd, byte, F_WRLCK) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  throw_errno("cannot lock the ledger");
}

bool is_byte_locked(int fd, int64_t byte) noexcept {
  struct flock lock = lock_on(byte, F_WRLCK);
  return ::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

void unlock_byte(int fd, int64_t byte) noexcept { set_lock(fd, byte, F_UNLCK); }

}  // namespace bailian
