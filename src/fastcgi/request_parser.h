#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace bailian {

/// The record check: reads what a FastCGI peer sends on one connection and lets only a well-formed request of
/// a responder through (FastCGI Specification 1.0, sections 3 to 5). libfcgi trusts its peer, so it is given
/// what this class wrote: the same request in as few records as possible, with kParamsRead as its only
/// parameters. Management records and requests that can't be served are answered here, see take_replies().
/// Memory is bounded by the limits alone, however the peer cuts its records.
class FcgiRequestParser {
 public:
  /// The parameters that this program reads; of several with one name the first counts. libfcgi has room for
  /// 30: for more it asks for memory without looking whether it got it.
  static constexpr std::array<std::string_view, 13> kParamsRead = {"REQUEST_METHOD",
                                                                   "REQUEST_URI",
                                                                   "DOCUMENT_URI",
                                                                   "SCRIPT_NAME",
                                                                   "QUERY_STRING",
                                                                   "HTTP_HOST",
                                                                   "HTTP_ORIGIN",
                                                                   "REQUEST_ID",
                                                                   "CONTENT_LENGTH",
                                                                   "HTTP_IF_NONE_MATCH",
                                                                   "HTTPS",
                                                                   "REMOTE_ADDR",
                                                                   "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"};

  /// nginx's own limit is 32 KiB of headers (large_client_header_buffers); one record holds 65535 bytes.
  static constexpr size_t kMaxParamsBytes = 65535;
  /// Of more parameters than kMaxParamsBytes so many bytes are read and thrown away; then the connection is
  /// closed.
  static constexpr size_t kMaxDroppedParamsBytes = size_t{1} << 20;
  /// How many records are answered or refused for each request. A web server asks once per connection.
  static constexpr int kMaxReplies = 16;

  enum class State {
    kBegin,    // no request has begun
    kParams,   // inside the parameters
    kStdin,    // inside the body
    kComplete  // the empty STDIN record was seen
  };

  /// `max_requests` is what FCGI_GET_VALUES is told of FCGI_MAX_CONNS and FCGI_MAX_REQS.
  explicit FcgiRequestParser(size_t max_body_bytes, int max_requests = 1)
      : max_body_bytes_(max_body_bytes), max_requests_(max_requests) {}

  /// Takes the next bytes. False: the peer breaks the protocol, `fault()` says how; close the connection.
  /// After a complete request only management records, ABORT_REQUEST and records of other requests may come.
  [[nodiscard]] bool feed(std::span<const unsigned char> bytes);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] std::string_view fault() const { return fault_; }
  [[nodiscard]] uint16_t request_id() const { return request_id_; }
  /// FCGI_KEEP_CONN: the peer wants the connection back after the answer.
  [[nodiscard]] bool keep_conn() const { return keep_conn_; }
  /// The parameters were longer than kMaxParamsBytes; only those of the first kMaxParamsBytes are kept.
  [[nodiscard]] bool params_too_large() const { return params_too_large_; }
  /// The body was longer than allowed and has been thrown away.
  [[nodiscard]] bool body_too_large() const { return body_too_large_; }
  [[nodiscard]] bool body_dropped() const { return body_dropped_; }
  /// The bytes of the body that came, those thrown away included.
  [[nodiscard]] size_t body_bytes() const { return body_bytes_; }
  [[nodiscard]] bool has_params() const { return state_ == State::kStdin || state_ == State::kComplete; }
  /// Of a parameter that is read, once the parameters are in; empty when there is none.
  [[nodiscard]] std::string_view param(std::string_view name) const;
  /// The checked request, for libfcgi to read; complete once state() is.
  [[nodiscard]] std::string_view wire() const { return wire_; }

  /// Records to be sent to the peer, whole: the answers to management records, and END_REQUEST for requests
  /// that are refused (a second one on this connection, another role) or were aborted before they were
  /// complete.
  [[nodiscard]] std::string take_replies() { return std::exchange(replies_, {}); }
  /// A request that was refused or aborted did not ask for the connection to be kept: once the replies have
  /// left, nothing more is to be sent.
  [[nodiscard]] bool is_closing() const { return is_closing_; }
  /// ABORT_REQUEST came for the complete request.
  [[nodiscard]] bool aborted() const { return aborted_; }
  /// No byte of a record or request is under way.
  [[nodiscard]] bool is_idle() const { return state_ == State::kBegin && header_size_ == 0; }

  /// The body, whatever of it is still to come, is thrown away: nobody reads it. Once the parameters are in.
  void drop_body();
  /// Frees the complete request, which has been read.
  void release_wire() { std::string().swap(wire_); }  // `= {}` keeps the memory
  /// The complete request has been answered: the next one may come.
  void expect_next(size_t max_body_bytes);

 private:
  // What the content of a record is for.
  enum class Content { kBegin, kParams, kStdin, kGetValues, kNothing };

  bool take_header();
  [[nodiscard]] std::string_view kept_params() const;
  bool take_management(unsigned char type);
  bool take_content(std::span<const unsigned char> content);
  bool take_params_content(std::span<const unsigned char> content);
  void take_stdin_content(std::span<const unsigned char> content);
  bool end_record();
  bool end_begin();
  bool end_get_values();
  void begin_request();
  bool refuse(uint16_t id, unsigned char protocol_status);
  bool abort();
  void forget_request();
  bool reply(unsigned char type, uint16_t id, std::string_view content);
  void append(unsigned char type, std::span<const unsigned char> content);
  void close_stream(unsigned char type);
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
  bool has_refused_ = false;  // records of a request that is not under way may come
  int replied_ = 0;
  unsigned char header_[8] = {};
  size_t header_size_ = 0;
  size_t content_left_ = 0;
  size_t padding_left_ = 0;
  unsigned char begin_body_[8] = {};
  size_t begin_size_ = 0;
  size_t params_bytes_ = 0;
  size_t body_bytes_ = 0;
  size_t body_start_ = 0;   // where in wire_ the STDIN records start
  size_t open_record_ = 0;  // where in wire_ the record that is being filled starts
  std::string values_;      // the content of FCGI_GET_VALUES
  std::string wire_;
  std::string replies_;
};

/// Writes a record header of FastCGI version 1 into eight bytes.
void write_record_header(unsigned char* into, unsigned char type, uint16_t request_id, size_t content_bytes);

}  // namespace bailian
