#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/access_record.h"

namespace bailian {

/// A defect of a request that is well-formed FastCGI; it is answered with an HTTP error.
enum class RequestFault {
  kNone,
  kParamsTooLarge,  // only the first parameters are known
  kBodyTooLarge,
  kBadLength  // CONTENT_LENGTH is not a number, or not the length of the body
};

/// One request as the web server passed it on. Every byte comes from the visitor and is untrusted.
struct Request {
  std::string method;
  std::string path;   // without the query
  std::string query;  // without the question mark
  std::string host;
  std::string origin;
  std::string visitor;  // the browser's address, according to the web server
  std::string if_none_match;
  std::string idempotency_key;    // as it was sent
  bool is_no_cache = false;       // Cache-Control: no-cache
  std::string requested_headers;  // Access-Control-Request-Headers of a preflight
  bool is_https = false;          // according to the web server
  std::string request_id;         // safe to log and to send back
  std::string body;               // empty if there is a fault
  RequestFault fault = RequestFault::kNone;
};

using Headers = std::vector<std::pair<std::string_view, std::string>>;

struct Reply {
  int status = 200;
  Headers headers;
  std::string body;
  // For the access log, if no exchange describes the request.
  Endpoint endpoint = Endpoint::kUnknown;
  std::string bot{};
  std::string upstream_code{};
  std::string detail{};

  void describe(AccessRecord& record) const {
    record.endpoint = endpoint;
    record.bot = bot;
    record.upstream_code = upstream_code;
    record.detail = detail;
  }
};

/// A failure to report to the visitor: what() is a text for humans, `code` an identifier for programs, see
/// nginx/api.md.
class HttpError : public std::runtime_error {
 public:
  /// Whether a client may repeat the request by itself.
  enum class Retry { kAllowed, kForbidden };

  HttpError(int status, std::string_view code, const std::string& message,
            std::chrono::seconds retry_after = std::chrono::seconds::zero(), Retry retry = Retry::kAllowed)
      : std::runtime_error(message), status_(status), code_(code), retry_after_(retry_after), retry_(retry) {}

  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] std::string_view code() const { return code_; }
  /// When to ask again; 0: unknown.
  [[nodiscard]] std::chrono::seconds retry_after() const { return retry_after_; }
  [[nodiscard]] bool forbids_retry() const { return retry_ == Retry::kForbidden; }

 private:
  int status_;
  std::string_view code_;  // a string literal
  std::chrono::seconds retry_after_;
  Retry retry_;
};

/// The browser's end of one exchange. Nothing is sent before the loop iteration ends, so no call destroys the
/// exchange that makes it. If send(), begin(), write() or finish() throws std::bad_alloc, the answer can no
/// longer be completed: the caller ends the exchange by abort(). Loop thread only.
class ClientStream {
 public:
  virtual ~ClientStream() = default;

  /// The whole answer; ends the exchange.
  virtual void send(const Reply& reply) = 0;

  /// Status line and headers of a stream (the reply's body is not used); write() and finish() follow.
  virtual void begin(const Reply& head) = 0;
  /// One event. With at most kMaxEventBytes it reaches the web server in one piece.
  virtual void write(std::string_view event) = 0;
  virtual void finish() = 0;
  /// Closes the connection without a proper end of the answer.
  virtual void abort() noexcept = 0;

  /// Bytes that wait for a slow browser.
  [[nodiscard]] virtual size_t unsent_bytes() const = 0;
  /// Bytes of this answer that were sent, FastCGI framing included.
  [[nodiscard]] virtual uint64_t sent_bytes() const = 0;
};

/// nginx reads a FastCGI answer into a buffer of 4 KiB (fastcgi_buffer_size), of which 8 bytes are the
/// record's header. A longer event reaches the browser in two chunks.
inline constexpr size_t kMaxEventBytes = 4088;

/// An answer under way. Owned by the connection; its destruction cancels the upstream transfer. If
/// on_flushed, on_sent or on_shutdown throws, the connection is closed.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// Everything written so far was sent.
  virtual void on_flushed() = 0;
  /// Some bytes were sent.
  virtual void on_sent() {}
  /// The process is about to stop: end the answer now, as a failure.
  virtual void on_shutdown() = 0;
  /// Fills in the facts about the request that only the exchange has. Called once, when the request has
  /// ended, possibly from inside a call of ClientStream. Throws std::bad_alloc; the numbers are set by then.
  virtual void describe(AccessRecord& record) const = 0;
};

}  // namespace bailian
