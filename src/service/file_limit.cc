#include "service/file_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/log.h"

namespace bailian {
namespace {

// Descriptors that belong to no stream: logs, loops, libraries, connections without a stream.
constexpr rlim_t kOtherFiles = 256;

}  // namespace

void raise_file_limit(const Config& config) {
  // Per stream, one descriptor for the web server and one for the upstream.
  const rlim_t wanted = static_cast<rlim_t>(config.max_streams) * 2 + kOtherFiles;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  rlimit raised = {wanted, std::max(wanted, limit.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  raised = {std::min(wanted, limit.rlim_max), limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &raised);
  if (raised.rlim_cur >= wanted) return;
  log(LogLevel::kWarning, "file_limit",
      fmt::format("MAX_STREAMS={} needs {} open files, {} more than allowed; raise LimitNOFILE (ulimit -n)",
                  config.max_streams, wanted, wanted - raised.rlim_cur));
}

size_t soft_max_connections(const Config& config) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return SIZE_MAX;
  const rlim_t for_others = static_cast<rlim_t>(config.max_streams) + kOtherFiles / 2;
  return std::max(limit.rlim_cur / 4, limit.rlim_cur - std::min(limit.rlim_cur, for_others));
}

}  // namespace bailian
