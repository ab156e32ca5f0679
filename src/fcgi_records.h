#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace bailian {

/// The record check: reads what a FastCGI peer sends for one request and lets only a well-formed request of a
/// responder through (FastCGI Specification 1.0, sections 3 and 5). libfcgi trusts its peer, so it is given
/// what this class wrote: the same request in as few records as possible, with kParamsRead as its only
/// parameters. Memory is bounded by the limits alone, however the peer cuts its records.
class RequestRecords {
 public:
  /// The parameters that this program reads; of several with one name the first counts. libfcgi has room for
  /// 30: for more it asks for memory without looking whether it got it.
  static constexpr std::array<std::string_view, 10> kParamsRead = {
      "REQUEST_METHOD", "REQUEST_URI", "DOCUMENT_URI", "SCRIPT_NAME",    "QUERY_STRING",
      "HTTP_HOST",      "HTTP_ORIGIN", "REQUEST_ID",   "CONTENT_LENGTH", "HTTP_IF_NONE_MATCH"};

  /// nginx's own limit is 32 KiB of headers (large_client_header_buffers); one record holds 65535 bytes.
  static constexpr size_t kMaxParamsBytes = 65535;

  enum class State {
    kBegin,    // nothing but the start of BEGIN_REQUEST was seen
    kParams,   // inside the parameters
    kStdin,    // inside the body
    kComplete  // the empty STDIN record was seen
  };

  explicit RequestRecords(size_t max_body_bytes) : max_body_bytes_(max_body_bytes) {}

  /// Takes the next bytes. False: not a request this program serves, `fault()` says why; close the
  /// connection. Bytes behind a complete request are such a fault too: nginx sends none before it has the
  /// answer.
  [[nodiscard]] bool feed(std::span<const unsigned char> bytes);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] std::string_view fault() const { return fault_; }
  [[nodiscard]] uint16_t request_id() const { return request_id_; }
  /// FCGI_KEEP_CONN: the peer wants the connection back after the answer.
  [[nodiscard]] bool keep_conn() const { return keep_conn_; }
  /// The body was longer than allowed and has been thrown away.
  [[nodiscard]] bool body_too_large() const { return body_too_large_; }
  /// The checked request, for libfcgi to read; complete once state() is.
  [[nodiscard]] std::string_view wire() const { return wire_; }

 private:
  bool take_header();
  bool take_content(std::span<const unsigned char> content);
  bool end_record();
  bool begin_request();
  void append(unsigned char type, std::span<const unsigned char> content);
  void close_stream(unsigned char type);
  bool take_params();
  bool reject(std::string_view why);

  size_t max_body_bytes_;
  State state_ = State::kBegin;
  std::string_view fault_;
  uint16_t request_id_ = 0;
  bool keep_conn_ = false;
  bool body_too_large_ = false;
  unsigned char header_[8] = {};
  size_t header_size_ = 0;
  size_t content_left_ = 0;
  size_t padding_left_ = 0;
  unsigned char begin_body_[8] = {};
  size_t begin_size_ = 0;
  size_t body_bytes_ = 0;
  size_t body_start_ = 0;   // where in wire_ the STDIN records start
  size_t open_record_ = 0;  // where in wire_ the record that is being filled starts
  std::string wire_;
};

/// Writes a record header of FastCGI version 1 into eight bytes.
void write_record_header(unsigned char* into, unsigned char type, uint16_t request_id, size_t content_bytes);

}  // namespace bailian
