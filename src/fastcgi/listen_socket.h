#pragma once

#include <sys/types.h>
#include <sysexits.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/exit_error.h"
#include "base/unique_fd.h"
#include "settings/config.h"

namespace bailian {

/// A socket could not be opened or inherited. what() names the address.
class ListenError : public ExitError {
 public:
  explicit ListenError(const std::string& what) : ExitError(EX_UNAVAILABLE, what) {}
};

/// A non-blocking socket that accepts FastCGI connections. The destructor removes the file of a unix socket
/// that this program made.
class ListenSocket {
 public:
  /// Takes the socket that was passed by systemd (LISTEN_FDS) or, as descriptor 0, by a FastCGI process
  /// manager; nothing if there is none. A socket made by a predecessor counts as this program's own, but its
  /// file does so only after take_ownership_of_file(). Throws ListenError.
  static std::optional<ListenSocket> inherited();
  /// Its descriptor, before inherited() is called; -1: none was passed.
  static int inherited_fd();

  /// A unix socket gets exactly `mode`. It replaces a socket that no process listens on. A socket in use and
  /// a file of another kind are not touched. Throws ListenError.
  static ListenSocket open(const ListenAddress& address, mode_t mode);

  ListenSocket(ListenSocket&&) noexcept = default;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Other processes may accept from it, now or later.
  [[nodiscard]] bool is_shared() const { return shared_; }
  /// Its name in LISTEN_FDNAMES, which shows whether the successor will own it.
  [[nodiscard]] std::string_view name_for_successor() const { return shared_ ? "inherited" : kOwn; }
  /// The predecessor has handed the socket over: from now on the destructor removes the file.
  void take_ownership_of_file() { owns_file_ = !shared_; }
  /// False: the file of the unix socket was removed or replaced, so no client can connect.
  [[nodiscard]] bool is_reachable() const;
  /// Closes the socket, as an open one blocks its address. The file stays.
  void close() {
    bound_path_.clear();
    fd_ = {};
  }
  /// From now on the successor owns the socket and its file.
  void hand_over() {
    shared_ = true;
    bound_path_.clear();
  }

 private:
  static constexpr std::string_view kOwn = "bailian-fcgi-own";

  ListenSocket(UniqueFd fd, std::string name, bool shared)
      : fd_(std::move(fd)), name_(std::move(name)), shared_(shared) {}

  static ListenSocket open_unix(const std::string& path, mode_t mode);
  static ListenSocket open_tcp(const TcpAddress& address);
  static ListenSocket from_descriptor(UniqueFd fd, bool shared);
  void remember_file(const std::string& path);
  [[nodiscard]] bool has_file() const;

  UniqueFd fd_;
  std::string name_;
  bool shared_;
  std::string bound_path_;  // empty: unknown, or handed over
  bool owns_file_ = true;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace bailian
