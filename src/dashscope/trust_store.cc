#include "dashscope/trust_store.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <system_error>

#include "base/file.h"
#include "base/log.h"

namespace bailian {
namespace {

// nullptr: not set, or empty.
const char* from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): the environment is never changed
  return value != nullptr && *value != '\0' ? value : nullptr;
}

// Which version of a file this is; all zero if there is none.
using FileVersion = std::array<uint64_t, 5>;

FileVersion version_of(const char* path) {
  struct stat status {};
  if (path == nullptr || ::stat(path, &status) != 0) return {};
  return {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
          static_cast<uint64_t>(status.st_ctim.tv_sec), static_cast<uint64_t>(status.st_ctim.tv_nsec)};
}

// libcurl hands over its own type of context; a library of the same name and version has the same one.
bool libcurl_has_our_openssl() {
  const char* const library = curl_version_info(CURLVERSION_NOW)->ssl_version;
  return library != nullptr &&
         std::string_view(library).starts_with("OpenSSL/" + std::to_string(OPENSSL_VERSION_MAJOR) + ".");
}

}  // namespace

const char* TrustStore::file() {
  const char* const chosen = from_environment("SSL_CERT_FILE");
  return chosen != nullptr ? chosen : curl_version_info(CURLVERSION_NOW)->cainfo;
}

TrustStore::TrustStore() {
  if (file() == nullptr) {
    fault_ = "no CA bundle: SSL_CERT_FILE has to name one";
    return;
  }
  if (!libcurl_has_our_openssl()) return;
  const std::shared_ptr<X509_STORE> store(X509_STORE_new(), &X509_STORE_free);
  if (!store) throw std::bad_alloc();
  // As libcurl sets them: a certificate in the file is trusted whoever has issued it.
  X509_STORE_set_flags(store.get(), X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
  if (const char* const folder = from_environment("SSL_CERT_DIR")) X509_STORE_load_path(store.get(), folder);
  if (X509_STORE_load_file(store.get(), file()) == 1) {
    store_ = store;
  } else {
    fault_ = "cannot read the CA bundle " + std::string(file()) + ": " +
             (read_file(file(), 1) ? "it has no certificates, or damaged ones"
                                   : std::generic_category().message(errno));
  }
  ERR_clear_error();  // of this thread, for which a later error could be taken
}

std::shared_ptr<const TrustStore> TrustStore::for_url(std::string_view url) {
  if (!url.starts_with("https:")) return nullptr;
  static std::mutex mutex;
  static std::shared_ptr<const TrustStore> latest;
  static FileVersion version;
  const std::lock_guard lock(mutex);
  const FileVersion now = version_of(file());
  if (latest && now == version) return latest;
  latest.reset(new TrustStore());
  version = now;
  if (!latest->fault().empty())
    log(LogLevel::kError, "ca_bundle", latest->fault() + ": no chat can reach DashScope");
  return latest;
}

void TrustStore::use_in(void* ssl_context) const {
  assert(is_usable());
  auto* const context = static_cast<SSL_CTX*>(ssl_context);
  SSL_CTX_set1_cert_store(context, store_.get());
  // OpenSSL allocates the write buffer of a record again when a session ticket arrives after the request, and
  // then keeps it as long as the connection.
  constexpr long kMaxSentRecordBytes = 2048;
  SSL_CTX_set_max_send_fragment(context, kMaxSentRecordBytes);
}

}  // namespace bailian
