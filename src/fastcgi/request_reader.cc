#include "fastcgi/request_reader.h"

#include <fcgiapp.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "base/file.h"
#include "base/text.h"

namespace {

// libfcgi asserts that it gets the memory it asks for, and an assertion ends the process. While libfcgi reads
// a request, a failed one ends the request instead: only frames of C lie between here and there.
thread_local std::jmp_buf* way_out = nullptr;

}  // namespace

// In place of libc's, for this process and its libraries.
extern "C" void __assert_fail(  // NOLINT(bugprone-reserved-identifier)
    const char* assertion, const char* file, unsigned line, const char* function) noexcept {
  if (way_out != nullptr) std::longjmp(*way_out, 1);  // NOLINT(cert-err52-cpp)
  std::fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, assertion);
  std::abort();
}

namespace bailian {
namespace {

constexpr off_t kMaxFileBytes = 65536;  // of past requests
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

/// A request inside libfcgi, freed with its streams. The descriptor is not libfcgi's to close.
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
    std::jmp_buf here;
    if (setjmp(here) != 0) {  // NOLINT(cert-err52-cpp)
      way_out = nullptr;
      throw std::bad_alloc();
    }
    way_out = &here;
    const bool accepted = FCGX_Accept_r(&request_) == 0;
    way_out = nullptr;
    return accepted;
  }

  // A descriptor that libfcgi can't read from it closes, whosever it is.
  [[nodiscard]] bool has_closed_descriptor() const { return request_.ipcFd < 0; }

  [[nodiscard]] std::string_view param(const char* name) const {
    const char* value = FCGX_GetParam(name, request_.envp);
    return value != nullptr ? value : "";
  }

  // A stream that was cut short ends like one that was not: only the error tells.
  std::optional<std::string> read_body(size_t max_bytes) {
    std::string body(max_bytes + 1, '\0');  // one more, so that the end is read too
    const int got = FCGX_GetStr(body.data(), static_cast<int>(body.size()), request_.in);
    if (FCGX_GetError(request_.in) != 0) return std::nullopt;
    body.resize(static_cast<size_t>(got));
    return body;
  }

 private:
  FCGX_Request request_{};
};

// What the browser asked for. WordPress rewrites send everything to index.php, so the script's name is only
// the last resort.
template <typename Params>
std::string_view request_uri(const Params& request) {
  for (const char* name : {"REQUEST_URI", "DOCUMENT_URI", "SCRIPT_NAME"}) {
    const std::string_view uri = request.param(name);
    if (!uri.empty()) return uri;
  }
  return {};
}

// "-1" is Caddy's for a body of unknown length, which came in chunks.
bool is_as_long_as_declared(std::string_view content_length, size_t size) {
  if (content_length.empty() || content_length == "-1") return true;
  size_t declared = 0;
  const auto [end, error] =
      std::from_chars(content_length.data(), content_length.data() + content_length.size(), declared);
  return error == std::errc() && end == content_length.data() + content_length.size() && declared == size;
}

}  // namespace

void init_libfcgi() {
  if (FCGX_Init() != 0) throw std::runtime_error("cannot initialise libfcgi");
}

std::string_view requested_path(const FcgiRequestParser& records) {
  const std::string_view uri = request_uri(records);
  return uri.substr(0, uri.find('?'));
}

FcgiRequestReader::FcgiRequestReader() { make_file(); }

void FcgiRequestReader::make_file() {
  file_ = UniqueFd(::memfd_create("fastcgi-request", MFD_CLOEXEC));
  end_ = 0;
  if (!file_) throw_errno("memfd_create");
}

std::optional<Request> FcgiRequestReader::read(const FcgiRequestParser& records) {
  const std::string_view wire = records.wire();
  if (!file_) make_file();
  if (end_ > kMaxFileBytes) {
    if (::ftruncate(file_.get(), 0) != 0) throw_errno("ftruncate");
    end_ = 0;
  }
  // Behind the last request, so that libfcgi, which reads what it can get, never sees one of another visitor.
  const off_t start = end_;
  end_ += static_cast<off_t>(wire.size());
  if (::pwrite(file_.get(), wire.data(), wire.size(), start) != static_cast<ssize_t>(wire.size())) {
    throw_errno("pwrite");
  }
  if (::lseek(file_.get(), start, SEEK_SET) != start) throw_errno("lseek");

  LibfcgiRequest libfcgi(file_.get());
  const bool accepted = libfcgi.accept();
  if (libfcgi.has_closed_descriptor()) static_cast<void>(file_.release());
  if (!accepted) return std::nullopt;
  auto body = libfcgi.read_body(wire.size());
  if (!body) return std::nullopt;

  Request request;
  request.fault = records.params_too_large() ? RequestFault::kParamsTooLarge
                  : records.body_too_large() ? RequestFault::kBodyTooLarge
                  : records.body_dropped()   ? RequestFault::kNone
                  : !is_as_long_as_declared(libfcgi.param("CONTENT_LENGTH"), records.body_bytes())
                      ? RequestFault::kBadLength
                      : RequestFault::kNone;
  if (request.fault == RequestFault::kNone) request.body = std::move(*body);
  const std::string_view method = libfcgi.param("REQUEST_METHOD");
  request.method = is_word(method, kMaxMethodBytes) ? method : "";
  const std::string_view uri = request_uri(libfcgi);
  const size_t mark = uri.find('?');
  request.path = uri.substr(0, mark);
  request.query = mark != std::string_view::npos ? uri.substr(mark + 1) : libfcgi.param("QUERY_STRING");
  request.host = libfcgi.param("HTTP_HOST");
  request.visitor = libfcgi.param("REMOTE_ADDR");
  request.if_none_match = libfcgi.param("HTTP_IF_NONE_MATCH");
  request.requested_headers = libfcgi.param("HTTP_ACCESS_CONTROL_REQUEST_HEADERS");
  request.is_https = libfcgi.param("HTTPS") == "on";
  const std::string_view origin = libfcgi.param("HTTP_ORIGIN");
  request.origin = is_visible_ascii(origin) ? origin : "null";  // it may be sent back in a header
  const std::string_view id = libfcgi.param("REQUEST_ID");
  request.request_id = is_word(id, kMaxRequestIdBytes) ? std::string(id) : fresh_request_id();
  return request;
}

}  // namespace bailian
