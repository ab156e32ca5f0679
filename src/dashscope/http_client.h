#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.h"

struct curl_slist;

namespace bailian {

/// Why a transfer ended before its response did.
enum class TransferFault {
  kNone,
  kConnectTimeout,  // no connection in time; nothing was sent, as with the next
  kConnect,         // no connection: the name, the route or the port
  kUntrusted,       // TLS: the peer is not who it should be, or no handshake came about
  kBroken           // the connection failed during the exchange
};

/// What the head of a response says.
struct ResponseHead {
  int status = 0;                 // 0: no response
  std::string_view content_type;  // as sent, of any length; empty when there is none; dies with the call
  std::chrono::seconds retry_after{
      0};  // Retry-After (RFC 9110, 10.2.3), a date as the time until then; 0: none
};

struct TransferResult {
  ResponseHead head;
  TransferFault fault = TransferFault::kNone;
  std::string detail;  // libcurl's words for the fault
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
  /// exception of on_data arrives here after libcurl has returned. No other transfer is affected. The transfer
  /// may be destroyed in here.
  virtual void on_exception(const std::exception& error) noexcept = 0;
};

/// What all requests to one endpoint share: the URL and the request headers.
class RequestTemplate {
 public:
  /// `headers` are whole lines, "Name: value".
  RequestTemplate(std::string url, const std::vector<std::string>& headers);
  ~RequestTemplate();
  RequestTemplate(const RequestTemplate&) = delete;
  RequestTemplate& operator=(const RequestTemplate&) = delete;

 private:
  friend class Transfer;
  std::string url_;
  curl_slist* headers_ = nullptr;
};

class Transfer;

/// HTTP/1.1 over libcurl's multi interface on one event loop: kept-alive connections, TLS sessions shared, no
/// redirects, no cookies, no proxy. A request that a peer may have got whole is never sent again.
/// SSL_CERT_FILE in the environment names another CA bundle than the system's.
class HttpClient {
 public:
  /// `url`: the host of all requests, whose addresses are looked up once for all that wait for them.
  HttpClient(EventLoop& loop, const std::string& url);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// `endpoint` and `handler` must outlive the transfer.
  std::unique_ptr<Transfer> post(const RequestTemplate& endpoint, std::shared_ptr<const std::string> body,
                                 std::chrono::milliseconds connect_timeout, TransferHandler& handler);

 private:
  friend class Transfer;
  struct Multi;
  struct CurlPool;
  std::unique_ptr<CurlPool> shared_;
};

/// A POST under way. Destroying it cancels it and closes its connection at once, unless the response had
/// ended.
class Transfer {
 public:
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Stops and restarts reading from the peer.
  void pause(bool paused);

  /// Lets the rest of the response come in unheard, so that the connection can be used again. The handler
  /// hears nothing more. For a response that is about to end: it gets a second and 64 KiB.
  static void let_finish(std::unique_ptr<Transfer> transfer) noexcept;

 private:
  friend class HttpClient;
  Transfer(HttpClient& client, const RequestTemplate& endpoint, std::shared_ptr<const std::string> body,
           std::chrono::milliseconds connect_timeout, TransferHandler& handler);

  static size_t on_write(char* bytes, size_t size, size_t count, void* self) noexcept;
  static int on_request(void* self, char*, char*, int, int) noexcept;
  const ResponseHead& head();
  void free_what_was_sent();
  void start();
  void leave() noexcept;
  void note_sent();
  [[nodiscard]] bool is_surely_not_taken(int curl_code) const;
  bool starts_afresh(int curl_code);
  void on_lookup_timeout();
  void fail_later(int curl_code);
  void finish(int curl_code, const char* error) noexcept;

  HttpClient::CurlPool& shared_;
  HttpClient::Multi* multi_ = nullptr;       // none while it waits for the addresses; until it is done
  TransferHandler* handler_;                 // none: nobody listens any more
  std::shared_ptr<const std::string> body_;  // none once it was sent
  void* easy_;
  std::shared_ptr<curl_slist> addresses_;
  std::chrono::steady_clock::time_point connect_deadline_;
  std::optional<Timer> lookup_limit_;
  ResponseHead head_;
  int requests_ = 0;        // that libcurl wanted to send
  bool is_reused_ = false;  // the connection of the first
  size_t sent_bytes_ = 0;   // of the body
  size_t unheard_bytes_ = 0;
  std::exception_ptr exception_;  // what on_data has thrown
  bool done_ = false;
  bool paused_ = false;
  bool watched_ = false;          // libcurl has a socket of it watched
  int failure_ = 0;               // a CURLcode to end it with, which libcurl does not do
  Transfer* previous_ = nullptr;  // of its multi handle
  Transfer* next_ = nullptr;
};

/// `text` as it may stand in a URL's path.
std::string percent_encode(std::string_view text);

}  // namespace bailian
