#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace bailian {

/// Reads what a FastCGI peer sends on one connection and accepts only well-formed requests to a responder
/// (FastCGI Specification 1.0, sections 3 to 5). libfcgi trusts its peer, so it reads what this class wrote:
/// the same request in as few records as possible, with kParamsRead as its only parameters. Management
/// records and requests that cannot be served are answered here, see take_replies(). Memory is bounded by the
/// limits alone, however the peer splits its records.
class FcgiRequestParser {
 public:
  /// The parameters that this program reads. If one appears twice, the first is used. libfcgi has room for
  /// 30; for more it allocates memory without checking the result.
  static constexpr auto kParamsRead = std::to_array<std::string_view>(
      {"REQUEST_METHOD", "REQUEST_URI", "DOCUMENT_URI", "SCRIPT_NAME", "QUERY_STRING", "HTTP_HOST",
       "HTTP_ORIGIN", "REQUEST_ID", "CONTENT_LENGTH", "HTTP_IF_NONE_MATCH", "HTTP_IDEMPOTENCY_KEY",
       "HTTP_CACHE_CONTROL", "HTTPS", "REMOTE_ADDR", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"});

  /// nginx's own limit is 32 KiB of headers (large_client_header_buffers); one record holds 65535 bytes.
  static constexpr size_t kMaxParamsBytes = 65535;
  /// Larger parameters are read and dropped up to this size; beyond it the connection is closed.
  static constexpr size_t kMaxDroppedParamsBytes = size_t{1} << 20;
  /// Replies to management records and refused requests, per request. A web server needs one per connection.
  static constexpr int kMaxReplies = 16;

  enum class State {
    kBegin,    // no request has begun
    kParams,   // inside the parameters
    kStdin,    // inside the body
    kComplete  // the empty STDIN record was seen
  };

  /// `max_requests` is the reply to FCGI_GET_VALUES for FCGI_MAX_CONNS and FCGI_MAX_REQS.
  explicit FcgiRequestParser(size_t max_body_bytes, int max_requests = 1)
      : max_body_bytes_(max_body_bytes), max_requests_(max_requests) {}

  /// Takes the next bytes. False: the peer broke the protocol, see fault(); close the connection.
  /// After a complete request only management records, ABORT_REQUEST and records of other requests may come.
  [[nodiscard]] bool feed(std::span<const unsigned char> bytes);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] std::string_view fault() const { return fault_; }
  [[nodiscard]] uint16_t request_id() const { return request_id_; }
  /// FCGI_KEEP_CONN: the peer wants the connection back after the answer.
  [[nodiscard]] bool keep_conn() const { return keep_conn_; }
  /// The parameters were larger than kMaxParamsBytes. Only those in the first kMaxParamsBytes are kept.
  [[nodiscard]] bool params_too_large() const { return params_too_large_; }
  /// The body was larger than allowed and was dropped.
  [[nodiscard]] bool body_too_large() const { return body_too_large_; }
  [[nodiscard]] bool body_dropped() const { return body_dropped_; }
  /// Received bytes of the body, dropped ones included.
  [[nodiscard]] size_t body_bytes() const { return body_bytes_; }
  [[nodiscard]] bool has_params() const { return state_ == State::kStdin || state_ == State::kComplete; }
  /// One of kParamsRead; empty if the request does not have it, or while has_params() is false.
  [[nodiscard]] std::string_view param(std::string_view name) const;
  /// The checked request, for libfcgi to read. Complete in State::kComplete.
  [[nodiscard]] std::string_view wire() const { return wire_; }

  /// Whole records to send to the peer: replies to management records, and END_REQUEST for requests that were
  /// refused (a second one on this connection, another role) or aborted before they were complete.
  [[nodiscard]] std::string take_replies() { return std::exchange(replies_, {}); }
  /// A request was refused or aborted that did not ask to keep the connection: nothing is sent after the
  /// replies.
  [[nodiscard]] bool is_closing() const { return is_closing_; }
  /// ABORT_REQUEST was received for the complete request.
  [[nodiscard]] bool aborted() const { return aborted_; }
  /// No record or request was received in part.
  [[nodiscard]] bool is_idle() const { return state_ == State::kBegin && header_size_ == 0; }

  /// Drops the body, including the part still to come. Requires has_params().
  void drop_body();
  /// Frees the complete request after it was read.
  void release_wire() { free_memory(wire_); }
  /// The complete request was answered: the next one may begin.
  void expect_next(size_t max_body_bytes);

 private:
  // The use of a record's content.
  enum class Content { kBegin, kParams, kStdin, kGetValues, kNothing };

  bool take_header();
  bool take_management(unsigned char type);
  bool take_content(std::span<const unsigned char> content);
  bool take_params_content(std::span<const unsigned char> content);
  void take_stdin_content(std::span<const unsigned char> content);
  bool end_record();
  bool end_begin();
  bool end_get_values();
  bool refuse(uint16_t id, unsigned char protocol_status);
  bool abort();
  void forget_request();
  bool reply(unsigned char type, uint16_t id, std::string_view content);
  void append(unsigned char type, std::span<const unsigned char> content);
  bool take_params();
  bool reject(std::string_view why);

  size_t max_body_bytes_;
  int max_requests_;
  State state_ = State::kBegin;
  Content content_ = Content::kNothing;
  std::string_view fault_;
  uint16_t request_id_ = 0;
  bool keep_conn_ = false;
  bool params_too_large_ = false;
  bool body_too_large_ = false;
  bool body_dropped_ = false;
  bool aborted_ = false;
  bool is_closing_ = false;
  bool has_refused_ = false;  // more records of refused requests may follow
  int replied_ = 0;
  unsigned char header_[8] = {};
  size_t header_size_ = 0;
  size_t content_left_ = 0;
  size_t padding_left_ = 0;
  unsigned char begin_body_[8] = {};
  size_t begin_size_ = 0;
  size_t params_bytes_ = 0;
  size_t body_bytes_ = 0;
  size_t body_start_ = 0;   // start of the STDIN records in wire_
  size_t open_record_ = 0;  // start of the last record in wire_
  std::string values_;      // the content of FCGI_GET_VALUES
  std::string wire_;
  std::string replies_;
};

/// Writes a record header of FastCGI version 1 into eight bytes.
void write_record_header(unsigned char* into, unsigned char type, uint16_t request_id, size_t content_bytes);

}  // namespace bailian
