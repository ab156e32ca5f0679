#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace bailian {

/// Notifies the process that started the program, by NOTIFY_SOCKET: systemd, or the process that this one
/// takes over from, which gets READY=1 only. Does nothing if there is none. First loop only.
class ServiceManager {
 public:
  /// How NOTIFY_SOCKET begins if a predecessor set it, see Upgrade.
  static constexpr std::string_view kPredecessor = "@bailian-fcgi-upgrade-";

  /// Call it before there is any other thread: it reads the environment.
  ServiceManager();

  /// A service manager (systemd or alike) tracks this process, whether it wants notifications or not.
  [[nodiscard]] bool present() const { return present_; }
  /// How long it waits for notify_watchdog() before it ends the program.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

  /// Throws std::system_error if a predecessor cannot be notified: it would end this process later.
  void notify_ready();
  void notify_reloading();
  void notify_stopping() { notify("STOPPING=1"); }
  void notify_watchdog() { notify("WATCHDOG=1"); }
  /// Sent as one line of valid UTF-8, and only if it has changed.
  void notify_status(std::string_view text);
  /// No notifications from now on: the service manager would take them for the successor's.
  void mute() { muted_ = true; }

 private:
  int notify(const std::string& state);

  bool present_ = false;
  bool muted_ = false;
  std::optional<std::chrono::microseconds> watchdog_;
  std::string status_;  // that was sent last
};

}  // namespace bailian
