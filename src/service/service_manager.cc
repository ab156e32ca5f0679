#include "service/service_manager.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>

#include "base/text.h"

namespace bailian {

ServiceManager::ServiceManager() {
  const char* const socket = ::getenv("NOTIFY_SOCKET");      // NOLINT(concurrency-mt-unsafe)
  const char* const started = ::getenv("SYSTEMD_EXEC_PID");  // NOLINT(concurrency-mt-unsafe)
  present_ = (socket != nullptr && !std::string_view(socket).starts_with(kPredecessor)) ||
             (started != nullptr && started == std::to_string(::getpid()));
  uint64_t limit_us = 0;
  if (present_ && ::sd_watchdog_enabled(0, &limit_us) > 0) watchdog_ = std::chrono::microseconds(limit_us);
}

// Returns 0 or more, or a negated errno.
int ServiceManager::notify(const std::string& state) { return muted_ ? 0 : ::sd_notify(0, state.c_str()); }

void ServiceManager::notify_ready() {
  const int result = notify("READY=1");
  if (present_) return;
  if (result < 0) throw std::system_error(-result, std::generic_category(), "notify the predecessor");
  mute();
}

void ServiceManager::notify_reloading() {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
  notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.count()));
}

void ServiceManager::notify_status(std::string_view text) {
  constexpr size_t kMaxStatusBytes = 400;
  const std::string line = printable(text);
  const std::string_view status = utf8_prefix(line, kMaxStatusBytes);
  if (status == status_) return;
  status_ = status;
  notify("STATUS=" + status_);
}

}  // namespace bailian
