#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/event_loop.h"

struct curl_slist;

namespace bailian {

/// libcurl's state for the whole process. Create it before any other thread; it must outlive every client.
class CurlLibrary {
 public:
  /// Throws std::runtime_error.
  CurlLibrary();
  ~CurlLibrary();
  CurlLibrary(const CurlLibrary&) = delete;
  CurlLibrary& operator=(const CurlLibrary&) = delete;
};

/// Why a transfer has failed.
enum class TransferFault {
  kNone,
  kConnectTimeout,  // no connection in time; nothing was sent
  kConnect,         // no connection: name, route or port; nothing was sent
  kUntrusted,       // the TLS handshake has failed or the certificate is not trusted; nothing was sent
  kBroken           // the connection failed during the exchange
};

struct ResponseHead {
  int status = 0;                       // 0: no response
  std::string_view content_type;        // as received; empty if there is none; valid during the call
  std::chrono::seconds retry_after{0};  // Retry-After (RFC 9110, 10.2.3), a date as the time until then
};

struct TransferResult {
  ResponseHead head;
  TransferFault fault = TransferFault::kNone;
  std::string detail;    // libcurl's description of the fault
  bool is_kept = false;  // the request went over a connection that was kept from an earlier one
};

/// Receives one response, on the loop's thread. The last call is either on_done or on_exception, unless the
/// transfer is destroyed before.
class TransferHandler {
 public:
  virtual ~TransferHandler() = default;
  /// The request is about to be sent.
  virtual void on_request() noexcept {}
  /// Bytes of the body; the view is valid during the call. The transfer must not be destroyed in here. False
  /// ends it, and on_done follows.
  virtual bool on_data(const ResponseHead& head, std::string_view bytes) = 0;
  /// The response is complete or has failed. The transfer may be destroyed in here.
  virtual void on_done(const TransferResult& result) = 0;
  /// on_data or on_done has thrown, or the transfer itself has run out of memory. As libcurl is C, an
  /// exception of on_data arrives here after libcurl has returned. No other transfer is affected. The
  /// transfer may be destroyed in here.
  virtual void on_exception(const std::exception& error) noexcept = 0;
};

/// Shared by all requests to one endpoint: the URL and the request headers.
class RequestTemplate {
 public:
  /// `headers` are whole lines, "Name: value". Throws std::bad_alloc.
  RequestTemplate(std::string url, const std::vector<std::string>& headers);

 private:
  friend class Transfer;
  std::string url_;
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers_;
};

enum class HttpMethod { kPost, kHead, kGet };

class CurlMulti;
class CurlPool;
class Transfer;

/// HTTP/1.1 over libcurl's multi interface on one event loop, with keep-alive and shared TLS sessions; no
/// redirects, no cookies, no proxy. A request that the peer may have received in full is never sent again.
/// Loop thread only.
class HttpClient {
 public:
  /// `url`: all requests go to its host, whose addresses are looked up once for all waiting transfers. Throws
  /// std::bad_alloc.
  HttpClient(EventLoop& loop, const std::string& url);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// `endpoint` and `handler` must outlive the transfer. Throws std::bad_alloc or std::system_error; no
  /// handler is called before this returns.
  std::unique_ptr<Transfer> post(const RequestTemplate& endpoint, std::shared_ptr<const std::string> body,
                                 std::chrono::milliseconds connect_timeout, TransferHandler& handler) {
    return send(HttpMethod::kPost, endpoint, std::move(body), connect_timeout, handler);
  }

  /// Likewise for a HEAD, which has no effect: it leaves a connection for the next request. On a kept
  /// connection that the peer has closed, it is sent again.
  std::unique_ptr<Transfer> head(const RequestTemplate& endpoint, std::chrono::milliseconds connect_timeout,
                                 TransferHandler& handler) {
    return send(HttpMethod::kHead, endpoint, nullptr, connect_timeout, handler);
  }

  /// Likewise for a GET. On a kept connection that the peer has closed, it is sent again.
  std::unique_ptr<Transfer> get(const RequestTemplate& endpoint, std::chrono::milliseconds connect_timeout,
                                TransferHandler& handler) {
    return send(HttpMethod::kGet, endpoint, nullptr, connect_timeout, handler);
  }

  /// Whether there is a connection that waits for a request and can be used for some seconds more. It may be
  /// wrong: only libcurl knows its connections, and notices the end of one when it is to be used.
  [[nodiscard]] bool has_fresh_connection() const;

 private:
  std::unique_ptr<Transfer> send(HttpMethod method, const RequestTemplate& endpoint,
                                 std::shared_ptr<const std::string> body,
                                 std::chrono::milliseconds connect_timeout, TransferHandler& handler);

  std::unique_ptr<CurlPool> pool_;
};

/// A request under way. Destroying it cancels it and closes its connection at once, unless the response
/// is complete. Loop thread only.
class Transfer {
 public:
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Stops reading from the peer.
  void pause() { set_paused(true); }
  /// Continues to read. Data that libcurl holds may be handed over during the call.
  void resume() { set_paused(false); }

  /// Reads the rest of the response, a second and 64 KiB at most, and discards it, so that the connection can
  /// be reused. For a response that is about to end. The handler is not called any more.
  static void drain(std::unique_ptr<Transfer> transfer) noexcept;

 private:
  friend class CurlMulti;
  friend class CurlPool;
  friend class HttpClient;
  enum class State {
    kResolving,  // waits for the addresses of the host
    kRunning,    // a multi handle has it
    kDone
  };
  struct PutBack {
    void operator()(void* easy) const noexcept;
    CurlPool& pool;
  };

  Transfer(CurlPool& pool, HttpMethod method, const RequestTemplate& endpoint,
           std::shared_ptr<const std::string> body, std::chrono::milliseconds connect_timeout,
           TransferHandler& handler);

  static size_t on_write(char* bytes, size_t size, size_t count, void* self) noexcept;
  static int on_request(void* self, char*, char*, int, int) noexcept;
  static int on_new_socket(void* self, int socket, int purpose) noexcept;
  bool take(std::string_view bytes);
  const ResponseHead& head();
  void free_sent_body();
  void begin_to_connect();
  void start();
  [[nodiscard]] bool may_try_another_address(std::chrono::nanoseconds left) const;
  void on_connect_timeout();
  void run_in(CurlMulti& multi);
  void leave() noexcept;
  void set_paused(bool paused);
  void note_socket(bool is_watched);
  void note_sent_bytes();
  [[nodiscard]] bool is_surely_not_processed(int curl_code) const;
  bool starts_afresh(int curl_code);
  void fail_later(int curl_code) noexcept;
  void finish(int curl_code, const char* error) noexcept;

  CurlPool& pool_;
  // What each token needs is together: it is in few lines of the processor's cache.
  TransferHandler* handler_;                 // none while it is drained
  std::shared_ptr<const std::string> body_;  // of a POST; none once it was sent
  std::exception_ptr exception_;             // thrown by the handler's on_data
  ResponseHead head_;
  const bool is_post_;
  std::unique_ptr<void, PutBack> easy_;
  State state_ = State::kResolving;
  std::shared_ptr<curl_slist> addresses_;
  const std::chrono::milliseconds connect_timeout_;
  std::chrono::steady_clock::time_point connect_deadline_;
  std::optional<Timer> connect_timer_;  // none once there is a connection
  int requests_ = 0;                    // how often libcurl was about to send the request
  bool is_reused_ = false;              // the connection of the first
  bool is_paused_ = false;
  bool has_socket_ = false;  // registered with the loop
  size_t sent_bytes_ = 0;    // of the body
  size_t discarded_bytes_ = 0;
  int failure_ = 0;               // a CURLcode, with which it ends at the end of the iteration
  CurlMulti* multi_ = nullptr;    // the latest
  Transfer* previous_ = nullptr;  // in the multi handle's list
  Transfer* next_ = nullptr;
};

/// `text` encoded for use in the path of a URL.
std::string percent_encode(std::string_view text);

}  // namespace bailian
