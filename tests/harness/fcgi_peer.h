#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/browser.h"
#include "harness/socket.h"

// A FastCGI client that writes records, well formed or not, directly to the responder's socket.
// https://fastcgi-archives.github.io/FastCGI_Specification.html
namespace bailian::e2e {

namespace fcgi {

enum Type : uint8_t {
  kBegin = 1,
  kAbort = 2,
  kEnd = 3,
  kParams = 4,
  kStdin = 5,
  kStdout = 6,
  kStderr = 7,
  kGetValues = 9,
  kGetValuesResult = 10,
  kUnknownType = 11
};
enum Role : uint16_t { kResponder = 1, kAuthorizer = 2 };

struct RecordOptions {
  uint8_t version = 1;
  uint16_t id = 1;
  uint8_t padding = 0;
};
std::string record(uint8_t type, std::string_view content, RecordOptions options = {});
std::string begin(bool keeps_connection = false, uint16_t role = kResponder);
std::string name_value(std::string_view name, std::string_view value);

using Params = std::vector<std::pair<std::string, std::string>>;
Params params_for(std::string_view method, std::string_view path, size_t body_bytes = 0);
std::string params_records(const Params& params);
std::string stdin_records(std::string_view body);

// A whole request as nginx sends it.
std::string request(std::string_view method, std::string_view path, std::string_view body = {},
                    bool keeps_connection = false);

}  // namespace fcgi

struct FcgiReply {
  Response response;
  std::vector<std::string> records;  // the content of each STDOUT record
  uint32_t app_status = 0;
  uint8_t protocol_status = 0;
};

class FcgiPeer {
 public:
  explicit FcgiPeer(const Address& responder) : socket_(connect_to(responder)) {}

  void send(std::string_view bytes) const { send_all(socket_, bytes); }
  // Sends the bytes and waits until the responder has read all of them.
  void send_apart(std::string_view bytes) const {
    send_all(socket_, bytes);
    await_read(socket_);
  }
  // The bytes that have arrived, without waiting. The last record may be incomplete.
  std::string received_by_now() const;
  // The content of the next STDOUT record.
  std::string read_stdout();
  // The content of the next record, which must be of this type.
  std::string read_record(uint8_t type);
  // Reads up to END_REQUEST, which must have this protocol status, and drops what comes before it.
  void await_end_request(uint8_t protocol_status);
  // A whole answer, up to its END_REQUEST.
  FcgiReply read_reply();
  // The bytes received on STDOUT since the last whole answer.
  const std::string& answer_so_far() const { return out_; }
  // True when the responder closes this connection without another byte.
  bool is_dropped() const { return received_.empty() && closes_silently(socket_); }
  // Waits for the end of the connection and drops what comes before it.
  void await_end();
  const Fd& socket() const { return socket_; }

 private:
  struct Record {
    uint8_t type;
    std::string content;
  };
  Record read_record();
  std::string take(size_t bytes);

  Fd socket_;
  std::string received_;
  std::string out_;
};

}  // namespace bailian::e2e
