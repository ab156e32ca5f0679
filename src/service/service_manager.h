#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string_view>

namespace bailian {

/// Who started the program and wants to hear from it by NOTIFY_SOCKET: systemd, or the process that this one
/// takes over from, which hears READY only. Nobody is told anything where there is none. Any thread.
class ServiceManager {
 public:
  /// What NOTIFY_SOCKET begins with where a predecessor waits, see Upgrade.
  static constexpr std::string_view kPredecessor = "@bailian-fcgi-upgrade-";

  /// Before there is any other thread: the environment is changed.
  ServiceManager();

  /// systemd, or somebody like it, who goes on listening, or who looks at the process alone.
  [[nodiscard]] bool is_there() const { return is_there_; }
  /// How long it waits for alive() before it takes the program for hung.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

  /// Throws std::system_error when a predecessor can't be told, which would then end this process for it.
  void ready();
  void reloading();
  void stopping();
  void alive();
  void status(std::string_view text);
  /// From now on it is told nothing: what is said would be taken for the successor's word.
  void fall_silent() { silent_ = true; }

 private:
  int tell(const char* state);

  bool is_there_ = false;
  std::optional<std::chrono::microseconds> watchdog_;
  std::atomic<bool> silent_{false};
};

}  // namespace bailian
