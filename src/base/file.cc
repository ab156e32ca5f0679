#include "base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "base/unique_fd.h"

namespace bailian {

void throw_errno(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

std::optional<std::string> read_file(const std::string& path, size_t max_bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  std::array<char, 16384> piece{};
  while (text.size() < max_bytes) {
    const ssize_t size = ::read(fd.get(), piece.data(), std::min(piece.size(), max_bytes - text.size()));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    if (size == 0) break;
    text.append(piece.data(), static_cast<size_t>(size));
  }
  return text;
}

}  // namespace bailian
