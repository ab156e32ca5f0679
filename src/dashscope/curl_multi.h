#pragma once

#include <curl/curl.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "base/event_loop.h"

namespace bailian {

class CurlPool;
class Transfer;

/// How long a timer runs that must always run, as starting a running one allocates nothing.
inline constexpr std::chrono::milliseconds kNothingDue = std::chrono::hours(1);

/// `handle`, which libcurl has made. Throws std::bad_alloc if it is null.
template <typename Handle>
Handle checked(Handle handle) {
  if (!handle) throw std::bad_alloc();
  return handle;
}

/// A multi handle of libcurl, driven by the event loop. Loop thread only.
class CurlMulti {
 public:
  /// Throws std::bad_alloc.
  explicit CurlMulti(CurlPool& pool);
  CurlMulti(const CurlMulti&) = delete;
  CurlMulti& operator=(const CurlMulti&) = delete;

  /// Throws std::bad_alloc; then nothing has changed.
  void add(Transfer& transfer);
  void remove(Transfer& transfer) noexcept;
  [[nodiscard]] bool has_room() const;
  /// Takes no more transfers, because libcurl has failed on it.
  [[nodiscard]] bool is_retired() const { return is_retired_; }
  [[nodiscard]] bool is_empty() const { return transfers_ == 0; }
  /// Whether it has had no transfer since the last call of this.
  bool was_idle() noexcept { return std::exchange(is_idle_, is_empty()) && is_empty(); }

  /// Lets libcurl handle a socket that is ready (CURL_CSELECT_*), then reports the transfers that have ended.
  void act(curl_socket_t socket, int ready);
  /// Ends the transfers that Transfer::fail_later() was called for.
  void finish_failed();

 private:
  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* self, void*) noexcept;
  static int on_timer(CURLM*, long timeout_ms, void* self) noexcept;
  void on_timeout();
  void retire(CURLMcode code);
  bool finish_if(bool (*matches)(const Transfer&));
  void report_finished();

  CurlPool& pool_;
  Timer timer_;
  std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> handle_;
  size_t transfers_ = 0;
  Transfer* first_ = nullptr;
  bool is_retired_ = false;
  bool is_idle_ = false;  // since the last call of was_idle()
};

}  // namespace bailian
