#pragma once

#include <sys/types.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "config.h"
#include "unique_fd.h"

namespace bailian {

/// Why a socket could not be had; what() names the address.
class ListenError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A socket that accepts FastCGI connections without blocking. A unix socket that this program made is
/// removed with the object.
class ListenSocket {
 public:
  /// Takes over the socket that systemd (LISTEN_FDS) or, as descriptor 0, a FastCGI process manager passed
  /// on; nothing when there is none. Throws ListenError.
  static std::optional<ListenSocket> inherited();

  /// A unix socket gets exactly `mode`. One that a dead process left is replaced; one that answers, and
  /// anything that is no socket, is left alone and reported. Throws ListenError.
  static ListenSocket open(const ListenAddress& address, mode_t mode);

  ListenSocket(ListenSocket&&) noexcept = default;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Another process may be accepting from it, now or later.
  [[nodiscard]] bool is_inherited() const { return inherited_; }

 private:
  ListenSocket(UniqueFd fd, std::string name, bool inherited)
      : fd_(std::move(fd)), name_(std::move(name)), inherited_(inherited) {}

  static ListenSocket open_unix(const std::string& path, mode_t mode);
  static ListenSocket open_tcp(const TcpAddress& address);

  UniqueFd fd_;
  std::string name_;
  bool inherited_;
  std::string bound_path_;  // to be removed
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace bailian
