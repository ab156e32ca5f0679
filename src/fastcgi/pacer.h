#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace bailian {

/// How many bytes of an event stream may be sent now. Pure: the caller supplies the time and the kernel's
/// count of bytes that the web server has not read yet.
///
/// An event must reach the browser in one chunk: old front ends parse each network chunk on its own, and
/// lose an event that is cut. nginx reads a FastCGI answer 4 KiB at a time and passes each read on as one
/// chunk. An event that does not fit completely after the bytes nginx has not read yet would be cut, so it is
/// held back until nginx has read those. Only a unix socket counts unread bytes; over TCP nothing is paced.
class Pacer {
 public:
  static constexpr size_t kPeerReadBytes = 4096;
  /// From the moment nothing is unread until the peer's recv() has returned: until then recv() would also
  /// take the start of the next record.
  static constexpr std::chrono::milliseconds kPeerReadTime{1};
  /// After a pause of this length the peer's recv() has returned.
  static constexpr std::chrono::milliseconds kPause{10};

  /// For a response that begins now; the peer has read everything before it.
  explicit Pacer(bool paced = false) : paced_(paced) {}

  /// Bytes of whole records that fit into the peer's current read.
  [[nodiscard]] size_t room() const { return paced_ ? kPeerReadBytes - unread_bytes_ : SIZE_MAX; }
  /// Whether bytes of this response may still be unread, so that the peer's progress matters.
  [[nodiscard]] bool has_unread() const { return unread_bytes_ > 0; }
  /// Whether the kernel's count alone can show at `now` that the peer's read has ended.
  [[nodiscard]] bool may_recount(Clock::time_point now) const {
    return has_unread() && now - last_sent_ >= kPause;
  }
  /// Whether a kernel's count of unread bytes means none: while the kernel frees the last buffer, one byte of
  /// it still counts.
  static constexpr bool is_nothing(int unread_bytes) { return unread_bytes <= 1; }

  void on_peer_read_all() { unread_bytes_ = 0; }
  void on_sent(size_t bytes, Clock::time_point now) {
    if (!paced_) return;
    unread_bytes_ = std::min(unread_bytes_ + bytes, kPeerReadBytes);
    last_sent_ = now;
  }

 private:
  bool paced_ = false;
  size_t unread_bytes_ = 0;  // sent since the peer was last known to have read all; at most kPeerReadBytes
  Clock::time_point last_sent_;
};

}  // namespace bailian
