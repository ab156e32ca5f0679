#include "service/service_manager.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

constexpr size_t kMaxStatusBytes = 400;

std::string one_line(std::string text) {
  const bool is_text = is_utf8(text);
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !is_text)) c = '?';
  }
  text.resize(utf8_prefix(text, kMaxStatusBytes).size());
  return text;
}

}  // namespace

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

void ServiceManager::notify_status(std::string text) {
  text = one_line(std::move(text));
  if (text == status_) return;
  notify("STATUS=" + text);
  status_ = std::move(text);
}

}  // namespace bailian
