#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/event_loop.h"

namespace bailian {

/// Looks up the addresses of one host, for all who wait for them: on one thread, however many they are and
/// however long the system's resolver takes. Loop thread only.
class Resolver {
 public:
  /// `on_end` is called at the end of each lookup, in an iteration of its own.
  Resolver(EventLoop& loop, std::string host, std::string port, Callback<void()> on_end);
  /// A lookup under way goes on unheard.
  ~Resolver() = default;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Whether addresses() may be used now. Starts a lookup when they are none or old; if this is false, on_end
  /// follows. Throws std::system_error when there is no thread to be had for the first of them.
  bool is_ready();

  /// HOST:PORT:ADDRESS[,ADDRESS...], as CURLOPT_RESOLVE takes them; empty when none were ever found.
  [[nodiscard]] const std::string& addresses() const { return addresses_; }
  /// Why the last lookup has failed.
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  struct Lookup;
  bool try_start();
  void start();
  void take_result();

  const std::string host_;
  const std::string port_;
  Callback<void()> on_end_;
  std::string addresses_;
  std::string error_;
  std::chrono::steady_clock::time_point found_at_;
  std::shared_ptr<Lookup> lookup_;  // the one under way, shared with its thread
  IoEvent ended_;
};

}  // namespace bailian
