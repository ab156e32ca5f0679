#pragma once

#include <curl/curl.h>

#include <chrono>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/event_loop.h"
#include "dashscope/curl_multi.h"
#include "dashscope/resolver.h"
#include "dashscope/trust_store.h"

namespace bailian {

class Transfer;

inline constexpr long kUploadBufferBytes = 16384;

/// Throws std::bad_alloc, or std::logic_error if this libcurl does not know the option.
template <typename Value>
void set_option(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != CURLE_OK) throw std::logic_error(curl_easy_strerror(code));
}

/// Shared by the transfers of one loop: easy and multi handles, sockets, TLS sessions and the addresses of
/// the host. Loop thread only.
class CurlPool {
 public:
  /// `url`: of the host. Throws std::bad_alloc.
  CurlPool(EventLoop& loop, const std::string& url);
  CurlPool(const CurlPool&) = delete;
  CurlPool& operator=(const CurlPool&) = delete;

  [[nodiscard]] EventLoop& loop() const { return loop_; }

  /// An easy handle with the common options set, which it keeps when it is put back.
  CURL* take_handle();
  void put_back(CURL* easy) noexcept;
  /// The first with room, so that under low load all idle connections are found in one place.
  CurlMulti& multi_with_room();

  /// Estimates which connections are kept, as libcurl does not say.
  void note_kept_connection() noexcept;
  void note_reused_connection() noexcept { kept_connections_ -= kept_connections_ > 0 ? 1 : 0; }
  [[nodiscard]] bool has_fresh_connection() const noexcept;

  /// Starts a lookup if necessary. Throws std::system_error if that fails and there are no old addresses.
  bool has_addresses() { return !resolver_ || resolver_->is_ready(); }
  /// For CURLOPT_RESOLVE; none if the URL names an address.
  std::shared_ptr<curl_slist> addresses();
  [[nodiscard]] bool has_several_addresses() const { return resolver_ && resolver_->has_several_addresses(); }
  /// The first of `tried` does not answer: connections are made to the others first, until the next lookup.
  void avoid_first_of(const curl_slist* tried) {
    if (tried == known_addresses_.get()) resolver_->move_first_to_end();
  }
  /// Starts `transfer` when the addresses are known.
  void wait_for_addresses(Transfer& transfer) { waiting_.push_back(&transfer); }
  void stop_waiting(Transfer& transfer) noexcept { std::erase(waiting_, &transfer); }

  /// Keeps a transfer whose response is of no interest until it ends, for a second at most.
  void drain(std::unique_ptr<Transfer> transfer);
  void destroy_drained(const Transfer& transfer) noexcept;

  /// A multi handle has no more transfers: its connections are closed after a while.
  void expect_idle() noexcept;
  /// Ends failed transfers at the end of the iteration, and frees retired multi handles.
  void schedule_failures() noexcept { after_failures_.schedule(); }
  void watch(CurlMulti& multi, curl_socket_t socket, short interest);
  void unwatch(curl_socket_t socket) noexcept;

 private:
  friend class CurlMulti;
  friend class Transfer;

  void on_resolved();
  void on_drain_timeout();
  void on_idle_check();
  void finish_failed();

  // Watches the sockets that have one descriptor number, each for the multi handle that uses it.
  struct Socket {
    Socket(EventLoop& event_loop, curl_socket_t socket)
        : loop(event_loop), number(socket), io(loop, bind<&Socket::on_ready>(this)) {}
    void on_ready(short ready);

    EventLoop& loop;
    const curl_socket_t number;
    CurlMulti* multi = nullptr;
    IoEvent io;
  };
  struct FreeHandle {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct Drained {
    std::unique_ptr<Transfer> transfer;
    std::chrono::steady_clock::time_point until;
  };

  EventLoop& loop_;
  std::optional<Resolver> resolver_;
  std::vector<Transfer*> waiting_;  // for the addresses
  std::shared_ptr<curl_slist> known_addresses_;
  std::string known_addresses_text_;
  EndOfIteration after_failures_;
  Timer drain_timer_;
  Timer idle_check_;
  bool expects_idle_ = false;  // idle_check_ is due soon
  size_t kept_connections_ = 0;
  std::chrono::steady_clock::time_point last_kept_;
  bool inside_libcurl_ = false;  // it is on the stack: no transfer may be destroyed
  // libcurl's text for the last failure. All handles share it, because it is read after each call; if the
  // call has ended more than one transfer, it is not used.
  char error_[CURL_ERROR_SIZE] = {};
  const std::shared_ptr<const TrustStore> trust_;  // none: no TLS
  // The order matters: transfers use easy handles, these use multi handles and their sockets.
  std::unordered_map<curl_socket_t, Socket> sockets_;  // never erased: numbers are used again
  std::unique_ptr<CURLSH, CURLSHcode (*)(CURLSH*)> share_;
  std::vector<std::unique_ptr<CurlMulti>> multis_;
  std::vector<std::unique_ptr<CURL, FreeHandle>> idle_handles_;
  std::deque<Drained> drained_;  // the oldest first
};

}  // namespace bailian
