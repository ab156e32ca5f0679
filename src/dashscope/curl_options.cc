#include "dashscope/curl_options.h"

#include <arpa/inet.h>

#include <cstdlib>
#include <memory>
#include <system_error>

namespace bailian {
namespace {

// Each stream has a read buffer, so this decides its memory. The event of a token has about 300 bytes: four
// of them still arrive in one read.
constexpr long kReadBufferBytes = 1280;
// Alibaba Cloud's load balancers close a connection after 15 s without traffic. If they do so while a request
// is on its way, the request is lost, as it is unknown whether it was processed. Therefore no request is sent
// on a connection that has been idle for longer than this.
constexpr long kMaxIdleSeconds = 10;

const char* ca_bundle() {
  const char* chosen =
      std::getenv("SSL_CERT_FILE");  // NOLINT(concurrency-mt-unsafe): the environment is never changed
  return chosen != nullptr && *chosen != '\0' ? chosen : curl_version_info(CURLVERSION_NOW)->cainfo;
}

}  // namespace

void set_common_options(CURL* easy, CURLSH* share, char* error) {
  set_option(easy, CURLOPT_SHARE, share);
  set_option(easy, CURLOPT_ERRORBUFFER, error);
  set_option(easy, CURLOPT_NOSIGNAL, 1L);
  set_option(easy, CURLOPT_POST, 1L);
  set_option(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set_option(easy, CURLOPT_PROXY, "");  // ignores http_proxy and the like
  set_option(easy, CURLOPT_USERAGENT, "bailian-fcgi/" BAILIAN_VERSION);
#if LIBCURL_VERSION_NUM >= 0x075500
  set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  set_option(easy, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  // Otherwise a cancel during a name lookup waits for the thread of libcurl's resolver.
  set_option(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  // Over HTTP/2, libcurl 7.88 delays a cancel until the connection is next active, and a paused transfer does
  // not slow down the peer.
  set_option(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set_option(easy, CURLOPT_BUFFERSIZE, kReadBufferBytes);
  set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
  set_option(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set_option(easy, CURLOPT_MAXAGE_CONN, kMaxIdleSeconds);
  // Debian builds libcurl with a CApath. With one, libcurl reads the CA bundle again for each connection,
  // which takes 22 ms.
  set_option(easy, CURLOPT_CAPATH, static_cast<char*>(nullptr));
  set_option(easy, CURLOPT_CAINFO, ca_bundle());
}

TransferFault fault_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return TransferFault::kNone;
    case CURLE_OPERATION_TIMEDOUT:  // only the connect timeout is set
      return TransferFault::kConnectTimeout;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return TransferFault::kConnect;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return TransferFault::kUntrusted;
    default:
      return TransferFault::kBroken;
  }
}

std::string describe(CURLcode code, const char* error, CURL* easy) {
  if (code == CURLE_OK) return {};
  if (code == CURLE_ABORTED_BY_CALLBACK) return "the connection ended before an answer arrived";
  std::string text = *error != '\0' ? error : curl_easy_strerror(code);
  // libcurl's text contains neither "refused" nor "no route", but libcurl keeps errno.
  long number = 0;
  if (code == CURLE_COULDNT_CONNECT) curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
  if (number != 0) text += ": " + std::generic_category().message(static_cast<int>(number));
  return text;
}

std::optional<HostAndPort> host_to_resolve(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  if (!parsed) throw std::bad_alloc();
  const auto part = [&](CURLUPart which, unsigned flags) {
    char* text = nullptr;
    curl_url_get(parsed.get(), which, &text, flags);
    const std::unique_ptr<char, decltype(&curl_free)> owned(text, &curl_free);
    return std::string(text != nullptr ? text : "");
  };
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return std::nullopt;
  HostAndPort found{part(CURLUPART_HOST, 0), part(CURLUPART_PORT, CURLU_DEFAULT_PORT)};
  in_addr number{};
  if (found.host.empty() || found.host.front() == '[' ||
      ::inet_pton(AF_INET, found.host.c_str(), &number) == 1)
    return std::nullopt;
  return found;
}

}  // namespace bailian
