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

/// What is wrong with a request that is FastCGI all the same: it gets an answer.
enum class RequestFault {
  kNone,
  kParamsTooLarge,  // only the first parameters are known
  kBodyTooLarge,
  kBadLength  // CONTENT_LENGTH is no number, or not the body's
};

/// One request as the web server passed it on. Every byte of it is the visitor's.
struct Request {
  std::string method;
  std::string path;   // without the query
  std::string query;  // without the question mark
  std::string host;
  std::string origin;
  std::string visitor;  // the browser's address, as the web server has it
  std::string if_none_match;
  std::string requested_headers;  // of a preflight: Access-Control-Request-Headers
  bool is_https = false;          // as far as the web server says
  std::string request_id;         // safe to log and to send back
  std::string body;               // empty when there is a fault
  RequestFault fault = RequestFault::kNone;
};

using Headers = std::vector<std::pair<std::string_view, std::string>>;

struct Reply {
  int status = 200;
  Headers headers;
  std::string body;
  // For the access log, of a reply that no exchange describes.
  Endpoint endpoint = Endpoint::kNothing;
  std::string upstream_code{};
  std::string detail{};
};

/// A failure that the visitor is told of. what() is the text for people, `code` the stable word of
/// nginx/api.md.
class HttpError : public std::runtime_error {
 public:
  HttpError(int status, std::string_view code, const std::string& message,
            std::chrono::seconds retry_after = std::chrono::seconds::zero())
      : std::runtime_error(message), status_(status), code_(code), retry_after_(retry_after) {}

  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] std::string_view code() const { return code_; }
  /// When to ask again, where that is known; else 0.
  [[nodiscard]] std::chrono::seconds retry_after() const { return retry_after_; }

 private:
  int status_;
  std::string_view code_;  // a literal
  std::chrono::seconds retry_after_;
};

/// The browser's end of one exchange. Nothing is sent before the loop iteration ends, so no call here
/// destroys the exchange that makes it. What can't be written for want of memory ends as abandon() does.
/// Loop thread only.
class ClientStream {
 public:
  virtual ~ClientStream() = default;

  /// The whole answer; ends the exchange.
  virtual void send(const Reply& reply) = 0;

  /// Status line and headers of a stream (the reply's body is not used); write() and finish() follow.
  virtual void begin(const Reply& head) = 0;
  /// One event: with at most kMaxEventBytes it reaches the web server in one piece.
  virtual void write(std::string_view event) = 0;
  virtual void finish() = 0;
  /// Closes the connection without an end to the answer: for want of memory, nothing better can be told.
  virtual void abandon() noexcept = 0;

  /// Bytes that wait for a slow browser.
  [[nodiscard]] virtual size_t unsent_bytes() const = 0;
  /// Bytes of this answer that have left, FastCGI framing included.
  [[nodiscard]] virtual uint64_t sent_bytes() const = 0;
};

/// nginx reads a FastCGI answer with a buffer of 4 KiB (fastcgi_buffer_size), of which 8 bytes are the
/// record's header; what does not fit reaches the browser in two chunks.
inline constexpr size_t kMaxEventBytes = 4088;

/// An answer in the making, owned by the browser's end: destroying it cancels whatever it waits for.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// Everything written so far has left.
  virtual void on_drained() = 0;
  /// Some of it has.
  virtual void on_sent() {}
  /// The program ends now: the answer must be brought to an end, as a failure.
  virtual void on_shutdown() = 0;
  /// Fills in what only the exchange knows about the request. Called once, when the request has ended,
  /// possibly from inside a call of ClientStream. Throws std::bad_alloc; the numbers are set by then.
  virtual void describe(AccessRecord& record) const = 0;
};

}  // namespace bailian
