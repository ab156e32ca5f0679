// Bytes of a FastCGI peer, cut anywhere, are refused, or answered with a bounded number of whole records, or
// become a request that libfcgi reads as intended.
#include <fastcgi.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "fastcgi/request_parser.h"
#include "fastcgi/request_reader.h"
#include "fuzz.h"

namespace bailian {
namespace {

using State = FcgiRequestParser::State;

// The reply: a few whole records.
void check_replies(std::string_view bytes) {
  int count = 0;
  for (; !bytes.empty(); ++count) {
    const auto byte = [&](size_t at) { return size_t{static_cast<unsigned char>(bytes[at])}; };
    fuzz::expect(bytes.size() >= FCGI_HEADER_LEN && byte(0) == FCGI_VERSION_1 && byte(6) == 0,
                 "a reply has a header");
    const bool is_end = byte(1) == FCGI_END_REQUEST;
    const bool is_null = (byte(2) << 8 | byte(3)) == FCGI_NULL_REQUEST_ID;
    fuzz::expect(is_end || byte(1) == FCGI_GET_VALUES_RESULT || byte(1) == FCGI_UNKNOWN_TYPE,
                 "a reply is one of three");
    fuzz::expect(is_end != is_null, "a reply has the id of its kind");
    const size_t size = FCGI_HEADER_LEN + (byte(4) << 8 | byte(5));
    fuzz::expect(bytes.size() >= size, "a reply is whole");
    bytes.remove_prefix(size);
  }
  fuzz::expect(count <= FcgiRequestParser::kMaxReplies, "replies are few");
}

bool feed(FcgiRequestParser& records, std::string_view bytes) {
  return records.feed({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()});
}

// The streams of the last request that was not aborted, from records that are known to be well formed.
struct Streams {
  std::string params;
  std::string body;
  size_t records = 0;
  std::optional<size_t> id;
  bool complete = false;

  void take(size_t type, size_t record_id, std::string_view content) {
    if (type == FCGI_BEGIN_REQUEST && !id && content.substr(0, 2) == std::string_view("\0\1", 2)) {
      *this = {};
      id = record_id;
    }
    if (id != record_id) return;
    ++records;
    if (type == FCGI_ABORT_REQUEST && !complete) id.reset();
    if (type == FCGI_PARAMS) params += content;
    if (type == FCGI_STDIN) body += content;
    if (type == FCGI_STDIN && content.empty()) complete = true;
  }
};

// After a complete request, the last record may be cut.
Streams streams_of(std::string_view bytes) {
  Streams streams;
  while (!bytes.empty()) {
    const auto byte = [&](size_t at) { return size_t{static_cast<unsigned char>(bytes[at])}; };
    if (streams.complete && bytes.size() < FCGI_HEADER_LEN) break;
    fuzz::expect(bytes.size() >= FCGI_HEADER_LEN && byte(0) == FCGI_VERSION_1, "a record has a header");
    const size_t content = byte(4) << 8 | byte(5);
    const size_t size = FCGI_HEADER_LEN + content + byte(6);
    if (streams.complete && bytes.size() < size) break;
    fuzz::expect(bytes.size() >= size, "a record is whole");
    streams.take(byte(1), byte(2) << 8 | byte(3), bytes.substr(FCGI_HEADER_LEN, content));
    bytes.remove_prefix(size);
  }
  return streams;
}

size_t take_length(std::string_view& bytes) {
  size_t length = static_cast<unsigned char>(bytes[0]);
  size_t taken = 1;
  if (length >= 0x80) {
    length &= 0x7f;
    for (; taken < 4; ++taken) length = length << 8 | static_cast<unsigned char>(bytes[taken]);
  }
  bytes.remove_prefix(taken);
  return length;
}

using Params = std::map<std::string, std::string, std::less<>>;

// If several have the same name, the first one is used; other names are ignored.
Params params_read(std::string_view bytes) {
  Params params;
  while (!bytes.empty()) {
    const size_t name_size = take_length(bytes);
    const size_t value_size = take_length(bytes);
    const std::string_view name = bytes.substr(0, name_size);
    if (std::find(FcgiRequestParser::kParamsRead.begin(), FcgiRequestParser::kParamsRead.end(), name) !=
        FcgiRequestParser::kParamsRead.end())
      params.emplace(name, bytes.substr(name_size, value_size));
    bytes.remove_prefix(name_size + value_size);
  }
  return params;
}

// libfcgi uses NUL-terminated strings and finds the first one of a name.
std::optional<std::string> find_param(std::string_view params, std::string_view name) {
  while (!params.empty()) {
    const size_t name_size = take_length(params);
    const size_t value_size = take_length(params);
    const std::string pair(params.substr(0, name_size));
    const std::string value(params.substr(name_size, value_size));
    params.remove_prefix(name_size + value_size);
    const std::string whole = pair + "=" + value;
    const std::string entry = whole.substr(0, whole.find('\0'));
    if (entry.starts_with(std::string(name) + "=")) return entry.substr(name.size() + 1);
  }
  return std::nullopt;
}

void check_request(FcgiRequestReader& reader, const FcgiRequestParser& records, const Streams& sent) {
  const Streams checked = streams_of(records.wire());
  if (!records.params_too_large())
    fuzz::expect(params_read(checked.params) == params_read(sent.params), "what is read is passed on");
  fuzz::expect(checked.body == (records.body_dropped() ? "" : sent.body), "the body is passed on");
  fuzz::expect(records.body_bytes() == sent.body.size(), "the body is counted");
  fuzz::expect(checked.records <= 5 + checked.body.size() / FCGI_MAX_LENGTH, "records are few");
  const auto request = reader.read(records);
  const std::string declared = find_param(checked.params, "CONTENT_LENGTH").value_or("");
  fuzz::expect(request.has_value(), "what was checked is read");
  const bool is_faulty = records.params_too_large() || records.body_too_large();
  const bool is_as_declared =
      declared.empty() || declared == "-1" || declared == std::to_string(sent.body.size());
  fuzz::expect((request->fault == RequestFault::kParamsTooLarge) == records.params_too_large(),
               "431 when it is due");
  if (is_as_declared)
    fuzz::expect((request->fault == RequestFault::kNone) == !is_faulty, "no fault but those");
  fuzz::expect(request->body == (request->fault == RequestFault::kNone ? checked.body : ""),
               "libfcgi reads the body");
  for (const auto* name : {"REQUEST_METHOD", "HTTP_HOST", "CONTENT_LENGTH"})
    fuzz::expect(records.param(name) == find_param(checked.params, name).value_or(""),
                 "parameters are told early");
  fuzz::expect(request->host == find_param(checked.params, "HTTP_HOST").value_or(""),
               "libfcgi reads the parameters");
  fuzz::expect(!request->request_id.empty() && request->request_id.size() <= 128, "a request has an id");
  fuzz::expect(request->path == requested_path(records), "so is the path");
  for (const std::string_view text : {request->request_id, request->origin, request->method}) {
    fuzz::expect(
        std::none_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; }),
        "what is sent back forges no header");
  }
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  bailian::init_libfcgi();
  for (const int number : {SIGPIPE, SIGUSR1, SIGTERM}) std::signal(number, SIG_DFL);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  static FcgiRequestReader reader;
  const std::string_view bytes = fuzz::as_text(data, size);
  auto random = fuzz::choices_for(bytes);
  const size_t max_body = random() % 4 == 0 ? random() % 64 : 1 << 20;
  FcgiRequestParser whole(max_body);
  const bool good = feed(whole, bytes);
  FcgiRequestParser cut(max_body);
  bool good_cut = true;
  fuzz::feed_in_pieces(bytes, random, [&](std::string_view piece) { return good_cut = feed(cut, piece); });

  fuzz::expect(good == good_cut && good == whole.fault().empty(), "cuts do not decide what is refused");
  fuzz::expect(whole.fault() == cut.fault() && whole.state() == cut.state(), "cuts do not change the fault");
  fuzz::expect(whole.wire() == cut.wire(), "cuts do not change the request");
  const std::string replies = whole.take_replies();
  fuzz::expect(replies == cut.take_replies() && whole.aborted() == cut.aborted(),
               "cuts do not change the replies");
  check_replies(replies);
  constexpr size_t kMaxHeaders = 64;
  fuzz::expect(whole.wire().size() <= FcgiRequestParser::kMaxParamsBytes + max_body + kMaxHeaders,
               "memory is bounded");
  if (good && whole.state() == State::kComplete && random() % 8 == 0) whole.drop_body();
  if (good && whole.state() == State::kComplete) check_request(reader, whole, streams_of(bytes));
  return 0;
}
