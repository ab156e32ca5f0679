// A FastCGI responder that generates the events of a streamed answer from a timer: no upstream, no JSON. Its
// cost is that of the delivery through FastCGI itself.
//   usage: bench_stub SOCKET
// Each POST is such a stream; `interval=MS` and `batch=N` in its body direct it, as for the simulator.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/unique_fd.h"

namespace {

using bailian::UniqueFd;
using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as in the stamps

constexpr size_t kHeaderBytes = 8;
constexpr unsigned char kStdin = 5;
constexpr unsigned char kStdout = 6;
constexpr size_t kMaxRequestBytes = 128UL * 1024;
constexpr long long kMaxBatch = 64;

constexpr std::string_view kReplyHeader =
    "Content-Type: text/event-stream; charset=utf-8\r\n"
    "Cache-Control: no-cache, no-transform\r\n"
    "Access-Control-Allow-Origin: *\r\n\r\n";
constexpr std::string_view kBeforeText = R"(data: {"success":true,"content":")";
constexpr std::string_view kBehindText =
    R"(","finished":false,"session_id":"535a2c7a41d94c0b9d2e6f8a7b1c3d5e"})"
    "\n\n";

long long number_behind(std::string_view text, std::string_view name, long long otherwise) {
  const auto at = text.find(name);
  if (at == std::string_view::npos) return otherwise;
  long long number = otherwise;
  std::from_chars(text.data() + at + name.size(), text.data() + text.size(), number);
  return number;
}

/// One connection of nginx: first a request that is read, then a stream that is written.
class Stream {
 public:
  explicit Stream(UniqueFd fd) : fd_(std::move(fd)) {}

  enum class Input { kMore, kComplete, kGone };

  Input receive() {
    std::array<char, 16384> bytes;
    const ssize_t count = ::recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN ? Input::kMore : Input::kGone;
    if (count == 0 || started_ || request_.size() > kMaxRequestBytes) return Input::kGone;
    request_.append(bytes.data(), static_cast<size_t>(count));
    if (!request_ended()) return Input::kMore;
    interval_ = std::chrono::milliseconds(std::max(1LL, number_behind(request_, "interval=", 50)));
    batch_ = std::clamp(number_behind(request_, "batch=", 1), 1LL, kMaxBatch);
    request_id_high_ = request_[2];
    request_id_low_ = request_[3];
    std::string().swap(request_);
    started_ = true;
    return Input::kComplete;
  }

  /// False: nginx is gone, or accepts no more bytes.
  bool send_events() {
    std::array<char, kHeaderBytes + 256 + kMaxBatch * 256> record;
    char* at = record.data() + kHeaderBytes;
    const auto put = [&at](std::string_view text) { at = std::copy(text.begin(), text.end(), at); };
    const auto put_number = [&at](int64_t number) { at = std::to_chars(at, at + 20, number).ptr; };
    if (next_ == 1) put(kReplyHeader);
    for (long long n = 0; n < batch_; ++n) {
      put(kBeforeText);
      *at++ = '@';
      put_number(next_++);
      *at++ = '.';
      put_number(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
      *at++ = ';';
      put(kBehindText);
    }
    const auto size = static_cast<size_t>(at - record.data());
    const size_t content = size - kHeaderBytes;
    const std::array<char, kHeaderBytes> header = {1,
                                                   kStdout,
                                                   request_id_high_,
                                                   request_id_low_,
                                                   static_cast<char>(content >> 8),
                                                   static_cast<char>(content & 0xff),
                                                   0,
                                                   0};
    std::copy(header.begin(), header.end(), record.begin());
    return ::send(fd_.get(), record.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(size);
  }

  [[nodiscard]] Clock::duration interval() const { return interval_; }
  /// When the next events are due; the key of the stream's timer.
  Clock::time_point due;

 private:
  [[nodiscard]] bool request_ended() {
    while (request_.size() >= parsed_ + kHeaderBytes) {
      const auto byte = [this](size_t i) { return static_cast<unsigned char>(request_[parsed_ + i]); };
      const size_t content = byte(4) * 256U + byte(5);
      if (byte(1) == kStdin && content == 0) return true;
      parsed_ += kHeaderBytes + content + byte(6);
    }
    return false;
  }

  UniqueFd fd_;
  std::string request_;
  size_t parsed_ = 0;
  bool started_ = false;
  char request_id_high_ = 0;
  char request_id_low_ = 0;
  int64_t next_ = 1;
  long long batch_ = 1;
  Clock::duration interval_{};
};

class Stub {
 public:
  explicit Stub(const std::string& path) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::runtime_error("the path is too long");
    std::copy(path.begin(), path.end(), address.sun_path);
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 4096) != 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
    watch(listener_.get());
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 512> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), patience_ms());
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        fd == listener_.get() ? accept_all() : receive(fd);
      }
      send_due();
    }
  }

 private:
  [[nodiscard]] int patience_ms() const {
    if (timers_.empty()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
    return static_cast<int>(std::max<int64_t>(0, left.count()));
  }

  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void accept_all() {
    for (;;) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) return;
      const int number = fd.get();
      watch(number);
      streams_.emplace(number, std::make_unique<Stream>(std::move(fd)));
    }
  }

  void receive(int fd) {
    const auto found = streams_.find(fd);
    if (found == streams_.end()) return;
    Stream& stream = *found->second;
    switch (stream.receive()) {
      case Stream::Input::kMore:
        return;
      case Stream::Input::kGone:
        timers_.erase({stream.due, fd});
        streams_.erase(found);
        return;
      case Stream::Input::kComplete:
        stream.due = Clock::now();
        timers_.emplace(stream.due, fd);
    }
  }

  void send_due() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first <= now) {
      auto timer = timers_.extract(timers_.begin());
      const auto found = streams_.find(timer.value().second);
      Stream& stream = *found->second;
      if (!stream.send_events()) {
        streams_.erase(found);
        continue;
      }
      stream.due += stream.interval();
      timer.value().first = stream.due;
      timers_.insert(std::move(timer));
    }
  }

  UniqueFd epoll_;
  UniqueFd listener_;
  std::unordered_map<int, std::unique_ptr<Stream>> streams_;
  std::set<std::pair<Clock::time_point, int>> timers_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: bench_stub SOCKET\n", stderr);
    return 64;
  }
  try {
    Stub(argv[1]).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_stub: %s\n", error.what());
    return 71;
  }
}
