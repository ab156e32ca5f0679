#include "fastcgi/listen_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

namespace bailian {
namespace {

// If the backlog is full, nginx answers 502 at once. The kernel caps it at net.core.somaxconn.
constexpr int kBacklog = 4096;
constexpr int kLockAttempts = 20;
constexpr std::chrono::milliseconds kLockPause{100};
constexpr int kFastCgiFd = 0;  // FCGI_LISTENSOCK_FILENO

[[noreturn]] void fail(const std::string& name, std::string_view what) {
  throw ListenError(fmt::format("cannot listen on {}: {}", name, what));
}
[[noreturn]] void fail_errno(const std::string& name) {
  fail(name, std::strerror(errno));  // NOLINT(concurrency-mt-unsafe): before any thread is started
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

// The path that a unix socket is bound to; empty if it has none.
std::string path_of(const sockaddr_storage& address, socklen_t size) {
  const auto& local = reinterpret_cast<const sockaddr_un&>(address);
  if (size <= offsetof(sockaddr_un, sun_path)) return {};
  return {local.sun_path, ::strnlen(local.sun_path, size - offsetof(sockaddr_un, sun_path))};
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

bool is_answered(const sockaddr_un& address) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) fail_errno(address.sun_path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  return errno == EAGAIN;  // its backlog is full
}

// " by process 42", if /proc/locks names one (proc_locks(5)).
std::string by_process(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return {};
  const std::string file =
      fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream fields(line);
    std::string number, kind, how, access, process, locked;
    fields >> number >> kind >> how >> access >> process >> locked;
    if (kind == "FLOCK" && locked == file) return " by process " + process;
  }
  return {};
}

// Two processes that start at the same time must not both replace the same stale socket, so the directory is
// locked from the check to bind().
UniqueFd lock_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Another instance holds the lock for a moment only; any other holder may keep it forever.
  for (int left = kLockAttempts; fd; --left) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) break;
    if (left <= 0) fail(path, fmt::format("the directory {} is locked{}", directory, by_process(fd.get())));
    std::this_thread::sleep_for(kLockPause);
  }
  const std::string why = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
  fail(path, fmt::format("the directory {}: {}", directory, why));
}

void remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return;
    fail_errno(path);
  }
  if (!S_ISSOCK(status.st_mode)) fail(path, "the file exists and is not a socket; remove it first");
  if (is_answered(address)) fail(path, "another process listens on it");
  if (::unlink(path.c_str()) != 0) fail_errno(path);
}

}  // namespace

std::optional<ListenSocket> ListenSocket::inherited() {
  const char* const names = ::getenv("LISTEN_FDNAMES");  // NOLINT(concurrency-mt-unsafe)
  const bool is_own = names != nullptr && names == kOwn;
  const int passed = ::sd_listen_fds(1);
  if (passed > 1) throw ListenError(fmt::format("{} sockets were passed, but only one is supported", passed));
  const int fd = passed == 1 ? SD_LISTEN_FDS_START : kFastCgiFd;
  if (!is_listening(fd)) {
    if (passed == 1) throw ListenError("the descriptor passed by LISTEN_FDS is not a listening socket");
    return std::nullopt;
  }
  UniqueFd owned(fd);
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
    fail_errno(fmt::format("descriptor {}", fd));
  ListenSocket socket = from_descriptor(std::move(owned), passed == 0 || !is_own);
  if (socket.name_.empty()) socket.name_ = fmt::format("inherited descriptor {}", fd);
  return socket;
}

int ListenSocket::inherited_fd() {
  const char* const count = ::getenv("LISTEN_FDS");  // NOLINT(concurrency-mt-unsafe)
  const int fd = count != nullptr ? SD_LISTEN_FDS_START : kFastCgiFd;
  return is_listening(fd) ? fd : -1;
}

ListenSocket ListenSocket::open(const ListenAddress& address, mode_t mode) {
  if (const auto* local = std::get_if<UnixAddress>(&address)) return open_unix(local->path, mode);
  return open_tcp(std::get<TcpAddress>(address));
}

ListenSocket ListenSocket::open_unix(const std::string& path, mode_t mode) {
  const sockaddr_un address = unix_address(path);
  const UniqueFd lock = lock_directory(path);
  remove_stale(path, address);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) fail_errno(path);
  // umask() rather than chmod(): the socket must never exist with another mode.
  const mode_t previous = ::umask(static_cast<mode_t>(~mode) & 0777);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(previous);
  if (bound != 0 || ::listen(fd.get(), kBacklog) != 0) fail_errno(path);

  ListenSocket socket(std::move(fd), path, false);
  socket.remember_file(path);
  return socket;
}

ListenSocket ListenSocket::from_descriptor(UniqueFd fd, bool shared) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    fail_errno("the inherited socket");
  if (address.ss_family == AF_UNIX) {
    const std::string path = path_of(address, size);
    ListenSocket socket(std::move(fd), path, shared);
    if (!path.empty()) socket.remember_file(path);
    socket.owns_file_ = false;
    return socket;
  }
  const int error = ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                                  port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
  if (error != 0) fail("the inherited socket", ::gai_strerror(error));
  const auto number = static_cast<uint16_t>(std::stoi(port.data()));
  return {std::move(fd), to_string(TcpAddress{host.data(), number}), shared};
}

void ListenSocket::remember_file(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  bound_path_ = path;
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

ListenSocket ListenSocket::open_tcp(const TcpAddress& address) {
  const std::string name = to_string(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) fail(name, ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);

  UniqueFd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), list->ai_addr, list->ai_addrlen) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    fail_errno(name);
  }
  return {std::move(fd), name, false};
}

bool ListenSocket::has_file() const {
  struct stat status {};
  return ::lstat(bound_path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

bool ListenSocket::is_reachable() const { return bound_path_.empty() || has_file(); }

ListenSocket::~ListenSocket() {
  if (fd_ && owns_file_ && !bound_path_.empty() && has_file()) ::unlink(bound_path_.c_str());
}

}  // namespace bailian
