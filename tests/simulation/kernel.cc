// Replaces the system calls that the product makes for sockets, clocks and random numbers. Descriptors below
// World::kFirstDescriptor are real, such as that of the memory file that libfcgi reads.

// With this macro, the headers define some of the functions that this file defines.
#undef _FORTIFY_SOURCE

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

#include "simulation/socket.h"
#include "simulation/world.h"

namespace bailian::simulation {
namespace {

constexpr size_t kMaxTransferBytes = 32768;

/// The eventfd by which EventLoop::post() wakes the loop.
class EventCounter final : public File {
 public:
  uint64_t count = 0;
  [[nodiscard]] bool is_readable() const override { return count > 0; }
};

template <typename T>
T& open_file(int descriptor, const char* call) {
  auto* const file = dynamic_cast<T*>(world->file(descriptor));
  if (file == nullptr)
    violated(fmt::format("{} on descriptor {}, which is closed or of another kind", call, descriptor));
  return *file;
}

long fail_with(int error) {
  errno = error;
  return -1;
}

}  // namespace

void Socket::send(std::string_view bytes) {
  inbox_ += bytes;
  has_edge = true;
}

void Socket::hang_up(bool reset) {
  has_peer_hung_up_ = true;
  is_reset_ = reset || unread_bytes() > 0;
  has_edge = true;
}

std::string Socket::receive(size_t max_bytes) {
  const size_t size = std::min(max_bytes, unread_bytes());
  std::string bytes = outbox_.substr(outbox_read_, size);
  outbox_read_ += size;
  if (outbox_read_ == outbox_.size()) {
    outbox_.clear();
    outbox_read_ = 0;
  }
  if (size > 0) has_edge = true;
  return bytes;
}

bool Socket::is_readable() const { return inbox_read_ < inbox_.size() || has_peer_hung_up_; }
bool Socket::is_writable() const { return unread_bytes() < capacity_ || has_peer_hung_up_; }

void Socket::on_close() { peer_.on_closed(); }

void Socket::shut_down_writing() { peer_.on_shut_down(); }

long Socket::receive_some(char* bytes, size_t size) {
  if (world->choices.one_in(64)) return fail_with(EINTR);
  if (inbox_read_ == inbox_.size()) {
    if (!has_peer_hung_up_) return fail_with(EAGAIN);
    peer_.on_end_received();
    return is_reset_ ? fail_with(ECONNRESET) : 0;
  }
  const size_t taken = std::min(size, inbox_.size() - inbox_read_);
  std::memcpy(bytes, inbox_.data() + inbox_read_, taken);
  inbox_read_ += taken;
  received_ += taken;
  if (inbox_read_ == inbox_.size()) {
    inbox_.clear();
    inbox_read_ = 0;
  }
  peer_.on_received(received_);
  world->note_progress();
  return static_cast<long>(taken);
}

long Socket::send_some(const char* bytes, size_t size) {
  if (world->choices.one_in(64)) return fail_with(EINTR);
  if (has_peer_hung_up_) {
    peer_.on_end_received();
    return fail_with(is_reset_ ? ECONNRESET : EPIPE);
  }
  if (unread_bytes() >= capacity_) return fail_with(EAGAIN);
  size_t taken = std::min(size, kMaxTransferBytes);  // a unix socket takes a buffer as a whole
  if (!is_local_) taken = std::min(taken, capacity_ - unread_bytes());
  if (!is_local_ && world->choices.one_in(32)) taken = 1 + world->choices.below(static_cast<uint32_t>(taken));
  outbox_.append(bytes, taken);
  world->note_progress();
  peer_.on_sent();
  return static_cast<long>(taken);
}

int ListeningSocket::accept(bool& is_local) {
  if (world->choices.one_in(64)) return static_cast<int>(fail_with(EINTR));
  if (backlog_.empty()) return static_cast<int>(fail_with(EAGAIN));
  if (world->choices.one_in(64)) return static_cast<int>(fail_with(ECONNABORTED));
  if (!world->has_room()) return static_cast<int>(fail_with(EMFILE));
  std::unique_ptr<Socket>& first = backlog_.front();
  is_local = first->is_local();
  Socket& socket = *first;
  const int descriptor = world->open(std::move(first));
  backlog_.erase(backlog_.begin());
  socket.accepted();
  world->note_progress();
  return descriptor;
}

}  // namespace bailian::simulation

using namespace bailian::simulation;

namespace {

int request_file = -1;
size_t unread_request_bytes = 0;  // of the request that libfcgi reads

bool is_simulated(int descriptor) { return world != nullptr && descriptor >= World::kFirstDescriptor; }

}  // namespace

// --- the clocks ---

std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  if (world != nullptr) return world->now();
  timespec now{};
  ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return time_point(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

extern "C" {

int nanosleep(const timespec* time, timespec* left) {
  if (world == nullptr) return static_cast<int>(::syscall(SYS_nanosleep, time, left));
  world->sleep(std::chrono::seconds(time->tv_sec) + std::chrono::nanoseconds(time->tv_nsec));
  return 0;
}

// --- random numbers ---

ssize_t getrandom(void* bytes, size_t size, unsigned flags) {
  if (world == nullptr) return ::syscall(SYS_getrandom, bytes, size, flags);
  const OutsideProduct outside;
  auto* const out = static_cast<unsigned char*>(bytes);
  std::generate(out, out + size, [] { return static_cast<unsigned char>(world->choices.below(256)); });
  return static_cast<ssize_t>(size);
}

// --- sockets ---

ssize_t recv(int descriptor, void* bytes, size_t size, int) {
  const OutsideProduct outside;
  return open_file<Socket>(descriptor, "recv").receive_some(static_cast<char*>(bytes), size);
}

ssize_t send(int descriptor, const void* bytes, size_t size, int) {
  const OutsideProduct outside;
  return open_file<Socket>(descriptor, "send").send_some(static_cast<const char*>(bytes), size);
}

int accept4(int descriptor, sockaddr* address, socklen_t*, int) {
  const OutsideProduct outside;
  bool is_local = false;
  const int accepted = open_file<ListeningSocket>(descriptor, "accept4").accept(is_local);
  address->sa_family = is_local ? AF_UNIX : AF_INET;
  return accepted;
}

int shutdown(int descriptor, int) noexcept {
  const OutsideProduct outside;
  open_file<Socket>(descriptor, "shutdown").shut_down_writing();
  return 0;
}

int setsockopt(int, int, int, const void*, socklen_t) noexcept { return 0; }

// glibc declares that poll() only writes to `files`; this one reads `fd`.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
int poll(pollfd* files, nfds_t count, int) {
  if (count != 1) violated("polls several descriptors");
  files->revents = world->file(files->fd)->is_readable() ? POLLIN : 0;
  return files->revents != 0 ? 1 : 0;
}
#pragma GCC diagnostic pop

int ioctl(int descriptor, unsigned long request, ...) noexcept {
  const OutsideProduct outside;
  if (request != SIOCOUTQ) violated(fmt::format("unexpected ioctl {}", request));
  std::va_list arguments;
  va_start(arguments, request);
  *va_arg(arguments, int*) = static_cast<int>(open_file<Socket>(descriptor, "ioctl").unread_bytes());
  va_end(arguments);
  return 0;
}

int eventfd(unsigned, int) noexcept {
  const OutsideProduct outside;
  return world->open(std::make_unique<EventCounter>());
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  request_file = descriptor;
  unread_request_bytes = size;
  return ::syscall(SYS_pwrite64, descriptor, bytes, size, offset);
}

ssize_t read(int descriptor, void* bytes, size_t size) {
  if (!is_simulated(descriptor)) {
    const ssize_t taken = ::syscall(SYS_read, descriptor, bytes, size);
    if (descriptor != request_file || taken <= 0) return taken;
    if (static_cast<size_t>(taken) > unread_request_bytes) violated("libfcgi reads bytes of another request");
    unread_request_bytes -= static_cast<size_t>(taken);
    return taken;
  }
  const OutsideProduct outside;
  auto& counter = open_file<EventCounter>(descriptor, "read");
  if (counter.count == 0) return fail_with(EAGAIN);
  std::memcpy(bytes, &counter.count, sizeof counter.count);
  counter.count = 0;
  world->note_progress();
  return sizeof counter.count;
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (!is_simulated(descriptor)) return ::syscall(SYS_write, descriptor, bytes, size);
  const OutsideProduct outside;
  open_file<EventCounter>(descriptor, "write").count += 1;
  return static_cast<ssize_t>(size);
}

int close(int descriptor) {
  if (descriptor == request_file) request_file = -1;
  if (!is_simulated(descriptor)) return static_cast<int>(::syscall(SYS_close, descriptor));
  const OutsideProduct outside;
  world->close(descriptor);
  return 0;
}

}  // extern "C"

// Called for the seeds of the product's generators.
std::random_device::result_type std::random_device::_M_getval() {
  const OutsideProduct outside;
  if (world != nullptr) return world->choices.below(UINT32_MAX);
  result_type random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) std::abort();
  return random;
}
