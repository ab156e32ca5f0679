#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/event_loop.h"

namespace bailian {

/// Looks up the addresses of one host: at most one lookup at a time, on its own thread, as the system's
/// resolver blocks. Loop thread only.
class Resolver {
 public:
  /// `on_end` is called from the loop when a lookup has ended.
  Resolver(EventLoop& loop, std::string host, std::string port, Callback<void()> on_end);
  /// A lookup in progress continues; its result is dropped.
  ~Resolver() = default;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Whether addresses() can be used now; if not, on_end follows. Starts a lookup if there are none or they
  /// are old. Throws std::system_error if no thread can be started and there are no addresses.
  bool is_ready();

  /// HOST:PORT:ADDRESS[,ADDRESS...], as CURLOPT_RESOLVE takes them; empty if none were ever found.
  [[nodiscard]] const std::string& addresses() const { return addresses_; }
  [[nodiscard]] bool has_several_addresses() const { return addresses_.find(',') != std::string::npos; }
  /// Until the next lookup.
  void move_first_to_end();
  /// Why the last lookup has failed, or empty.
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  struct Lookup;
  void start();
  void take_result();

  const std::string host_;
  const std::string port_;
  Callback<void()> on_end_;
  std::string addresses_;
  std::string error_;
  std::chrono::steady_clock::time_point found_at_;
  std::shared_ptr<Lookup> lookup_;  // the lookup in progress, shared with its thread
  IoEvent ended_;
};

}  // namespace bailian
