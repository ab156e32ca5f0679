#pragma once

#include <sys/types.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "settings/config.h"

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
  /// on; nothing when there is none. One that a predecessor had made is this program's own, but its file is
  /// so only after own_file(). Throws ListenError.
  static std::optional<ListenSocket> inherited();
  /// Its descriptor, before it is taken over; -1: none was passed on.
  static int inherited_fd();

  /// A unix socket gets exactly `mode`. One that a dead process left is replaced; one that answers, and
  /// anything that is no socket, is left alone and reported. Throws ListenError.
  static ListenSocket open(const ListenAddress& address, mode_t mode);

  ListenSocket(ListenSocket&&) noexcept = default;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Another process may be accepting from it, now or later.
  [[nodiscard]] bool is_shared() const { return shared_; }
  /// In LISTEN_FDNAMES: whether a successor may call it its own.
  [[nodiscard]] std::string_view name_for_successor() const { return shared_ ? "inherited" : kOwn; }
  /// The predecessor, if there was one, hands it over: from now on the file is removed with the object.
  void own_file() { owns_file_ = !shared_; }
  /// False: a unix socket whose file is gone or another's by now, so that no client can come any more.
  [[nodiscard]] bool is_reachable() const;
  /// Once this process accepts no more: who holds the socket keeps others from its address. The file stays.
  void close() {
    bound_path_.clear();
    fd_ = {};
  }
  /// A successor accepts from it and removes it.
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
  static ListenSocket passed_on(UniqueFd fd, bool shared);
  void remember_file(const std::string& path);
  [[nodiscard]] bool has_file() const;

  UniqueFd fd_;
  std::string name_;
  bool shared_;
  std::string bound_path_;  // empty: not known, or handed over
  bool owns_file_ = true;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace bailian
