#include "service/service_manager.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <system_error>

namespace bailian {

ServiceManager::ServiceManager() {
  const char* const socket = ::getenv("NOTIFY_SOCKET");      // NOLINT(concurrency-mt-unsafe)
  const char* const started = ::getenv("SYSTEMD_EXEC_PID");  // NOLINT(concurrency-mt-unsafe)
  is_there_ = (socket != nullptr && !std::string_view(socket).starts_with(kPredecessor)) ||
              (started != nullptr && started == std::to_string(::getpid()));
  uint64_t limit_us = 0;
  if (is_there_ && ::sd_watchdog_enabled(0, &limit_us) > 0) watchdog_ = std::chrono::microseconds(limit_us);
}

// 0 or more, or the error made negative.
int ServiceManager::tell(const char* state) { return silent_ ? 0 : ::sd_notify(0, state); }

void ServiceManager::ready() {
  const int told = tell("READY=1");
  if (is_there_) return;
  if (told < 0) throw std::system_error(-told, std::generic_category(), "tell the predecessor");
  fall_silent();
}

void ServiceManager::reloading() {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.count()).c_str());
}

void ServiceManager::stopping() { tell("STOPPING=1"); }

void ServiceManager::alive() { tell("WATCHDOG=1"); }

void ServiceManager::status(std::string_view text) { tell(fmt::format("STATUS={}", text).c_str()); }

}  // namespace bailian
