#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "settings/address.h"

namespace bailian {

/// An address that a socket can connect to.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
};

/// Looks up where a server listens: at most one lookup at a time, on its own thread, as the system's resolver
/// blocks. Loop thread only.
class HostLookup {
 public:
  /// `on_end` is called from the loop when a lookup has ended.
  HostLookup(EventLoop& loop, ListenAddress server, Callback<void()> on_end);
  /// A lookup in progress continues; its result is dropped.
  ~HostLookup() = default;
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

  [[nodiscard]] bool is_under_way() const { return lookup_ != nullptr; }
  /// on_end follows. Not while one is under way. Throws std::system_error if no thread can be started.
  void start();

  /// Of the lookup that has ended; empty if it has failed.
  [[nodiscard]] const std::vector<SocketAddress>& addresses() const { return addresses_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  struct Lookup;
  void take_result();

  const ListenAddress server_;
  Callback<void()> on_end_;
  std::vector<SocketAddress> addresses_;
  std::string error_;
  std::shared_ptr<Lookup> lookup_;  // the one in progress, shared with its thread
  IoEvent ended_;
};

}  // namespace bailian
