#include "fastcgi/request_reader.h"

#include <fcgiapp.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "base/file.h"
#include "base/text.h"
#include "settings/parse_value.h"

namespace {

// libfcgi asserts that it gets the memory it asks for, and a failed assertion ends the process. While libfcgi
// reads a request, a failed assertion jumps here instead and ends the request: only C frames are skipped.
thread_local std::jmp_buf* assert_landing = nullptr;

}  // namespace

// Replaces libc's function for this process and its libraries.
extern "C" void __assert_fail(  // NOLINT(bugprone-reserved-identifier)
    const char* assertion, const char* file, unsigned line, const char* function) noexcept {
  if (assert_landing != nullptr) std::longjmp(*assert_landing, 1);  // NOLINT(cert-err52-cpp)
  std::fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, assertion);
  std::abort();
}

namespace bailian {
namespace {

constexpr off_t kMaxFileBytes = 65536;  // then the file is emptied
constexpr size_t kMaxMethodBytes = 16;
constexpr size_t kMaxRequestIdBytes = 128;

bool is_word_char(char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; }
bool is_word(std::string_view text, size_t max_bytes) {
  return !text.empty() && text.size() <= max_bytes && std::all_of(text.begin(), text.end(), is_word_char);
}

std::string fresh_request_id() {
  unsigned char bytes[16] = {};
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw_errno("getrandom");
  std::string id;
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

/// A request inside libfcgi, freed with its streams. libfcgi does not own the descriptor.
class LibfcgiRequest {
 public:
  explicit LibfcgiRequest(int fd) {
    FCGX_InitRequest(&request_, -1, 0);
    request_.ipcFd = fd;
    request_.keepConnection = 1;
    request_.detached = 1;
  }
  ~LibfcgiRequest() { FCGX_Free(&request_, 0); }
  LibfcgiRequest(const LibfcgiRequest&) = delete;
  LibfcgiRequest& operator=(const LibfcgiRequest&) = delete;

  bool accept() {
    assert(assert_landing == nullptr);
    std::jmp_buf here;
    if (setjmp(here) != 0) {  // NOLINT(cert-err52-cpp)
      assert_landing = nullptr;
      throw std::bad_alloc();
    }
    assert_landing = &here;
    const bool accepted = FCGX_Accept_r(&request_) == 0;
    assert_landing = nullptr;
    return accepted;
  }

  // libfcgi closes a descriptor that it cannot read from.
  [[nodiscard]] bool has_closed_descriptor() const { return request_.ipcFd < 0; }

  [[nodiscard]] std::string_view param(const char* name) const {
    const char* value = FCGX_GetParam(name, request_.envp);
    return value != nullptr ? value : "";
  }

  // A truncated stream ends like a complete one: only FCGX_GetError() shows the difference.
  std::optional<std::string> read_body(size_t max_bytes) {
    std::string body(max_bytes + 1, '\0');  // one byte more, so that libfcgi reads the end of the stream
    const int got = FCGX_GetStr(body.data(), static_cast<int>(body.size()), request_.in);
    if (FCGX_GetError(request_.in) != 0) return std::nullopt;
    body.resize(static_cast<size_t>(got));
    return body;
  }

 private:
  FCGX_Request request_{};
};

// The URI that the browser requested. SCRIPT_NAME comes last because WordPress rewrites send everything to
// index.php.
template <typename Params>
std::string_view request_uri(const Params& request) {
  for (const char* name : {"REQUEST_URI", "DOCUMENT_URI", "SCRIPT_NAME"}) {
    const std::string_view uri = request.param(name);
    if (!uri.empty()) return uri;
  }
  return {};
}

// Caddy sends "-1" for a chunked body of unknown length.
bool has_declared_length(std::string_view content_length, size_t size) {
  if (content_length.empty() || content_length == "-1") return true;
  return parse_number<size_t>(content_length) == size;
}

RequestFault fault_of(const FcgiRequestParser& parser, std::string_view content_length) {
  if (parser.params_too_large()) return RequestFault::kParamsTooLarge;
  if (parser.body_too_large()) return RequestFault::kBodyTooLarge;
  if (parser.body_dropped() || has_declared_length(content_length, parser.body_bytes()))
    return RequestFault::kNone;
  return RequestFault::kBadLength;
}

// Whether Cache-Control, a list of directives, has no-cache (RFC 9111, 5.2.1.4).
bool has_no_cache(std::string_view cache_control) {
  while (!cache_control.empty()) {
    if (to_lower(trim(split_off(cache_control, ','))) == "no-cache") return true;
  }
  return false;
}

Request request_without_body(const LibfcgiRequest& libfcgi) {
  Request request;
  const std::string_view method = libfcgi.param("REQUEST_METHOD");
  request.method = is_word(method, kMaxMethodBytes) ? method : "";
  const std::string_view uri = request_uri(libfcgi);
  const size_t mark = uri.find('?');
  request.path = uri.substr(0, mark);
  request.query = mark != std::string_view::npos ? uri.substr(mark + 1) : libfcgi.param("QUERY_STRING");
  request.host = libfcgi.param("HTTP_HOST");
  request.visitor = libfcgi.param("REMOTE_ADDR");
  request.if_none_match = libfcgi.param("HTTP_IF_NONE_MATCH");
  request.idempotency_key = libfcgi.param("HTTP_IDEMPOTENCY_KEY");
  request.is_no_cache = has_no_cache(libfcgi.param("HTTP_CACHE_CONTROL"));
  request.requested_headers = libfcgi.param("HTTP_ACCESS_CONTROL_REQUEST_HEADERS");
  request.is_https = libfcgi.param("HTTPS") == "on";
  const std::string_view origin = libfcgi.param("HTTP_ORIGIN");
  request.origin = is_visible_ascii(origin) ? origin : "null";  // it may be sent back in a header
  const std::string_view id = libfcgi.param("REQUEST_ID");
  request.request_id = is_word(id, kMaxRequestIdBytes) ? std::string(id) : fresh_request_id();
  return request;
}

}  // namespace

void init_libfcgi() {
  if (FCGX_Init() != 0) throw std::runtime_error("cannot initialise libfcgi");
}

std::string_view requested_path(const FcgiRequestParser& parser) {
  const std::string_view uri = request_uri(parser);
  return uri.substr(0, uri.find('?'));
}

FcgiRequestReader::FcgiRequestReader() { make_file(); }

void FcgiRequestReader::make_file() {
  file_ = UniqueFd(::memfd_create("fastcgi-request", MFD_CLOEXEC));
  end_ = 0;
  if (!file_) throw_errno("memfd_create");
}

// Each request is appended: libfcgi reads as much as it can get, and must never see bytes of an earlier one.
void FcgiRequestReader::append(std::string_view wire) {
  if (!file_) make_file();
  if (end_ > kMaxFileBytes) {
    if (::ftruncate(file_.get(), 0) != 0) throw_errno("ftruncate");
    end_ = 0;
  }
  const off_t start = end_;
  end_ += static_cast<off_t>(wire.size());
  if (::pwrite(file_.get(), wire.data(), wire.size(), start) != static_cast<ssize_t>(wire.size()))
    throw_errno("pwrite");
  if (::lseek(file_.get(), start, SEEK_SET) != start) throw_errno("lseek");
}

std::optional<Request> FcgiRequestReader::read(const FcgiRequestParser& parser) {
  assert(parser.state() == FcgiRequestParser::State::kComplete);
  append(parser.wire());
  LibfcgiRequest libfcgi(file_.get());
  const bool accepted = libfcgi.accept();
  if (libfcgi.has_closed_descriptor()) static_cast<void>(file_.release());
  if (!accepted) return std::nullopt;
  auto body = libfcgi.read_body(parser.wire().size());
  if (!body) return std::nullopt;
  Request request = request_without_body(libfcgi);
  request.fault = fault_of(parser, libfcgi.param("CONTENT_LENGTH"));
  if (request.fault == RequestFault::kNone) request.body = std::move(*body);
  return request;
}

}  // namespace bailian
