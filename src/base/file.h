#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace bailian {

/// Throws std::system_error for errno; `what` describes the operation that failed: a verb, a path.
[[noreturn]] void throw_errno(const std::string& what);

/// The first `max_bytes` of the file, or all of it when it is shorter. Nothing when it cannot be read; errno
/// gives the reason.
std::optional<std::string> read_file(const std::string& path, size_t max_bytes);

}  // namespace bailian
