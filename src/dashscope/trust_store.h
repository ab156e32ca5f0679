#pragma once

#include <memory>
#include <string>
#include <string_view>

struct x509_store_st;

namespace bailian {

/// The certificate authorities that a TLS connection trusts: those in the file that SSL_CERT_FILE in the
/// environment names, without it those in the system's bundle, and besides those in the folder SSL_CERT_DIR
/// (by the names of `openssl rehash`). Immutable; any thread.
class TrustStore {
 public:
  /// The store of the process; nullptr if connections to `url` do not use TLS. The file is read at the first
  /// call, and again when it has changed: 20 ms and 0.9 MiB. A fault is logged then. Throws std::bad_alloc.
  static std::shared_ptr<const TrustStore> for_url(std::string_view url);

  /// Whether a connection can use it. If not, libcurl has to read the file itself, for each multi handle:
  /// because of the fault(), or because this libcurl has no OpenSSL.
  [[nodiscard]] bool is_usable() const { return store_ != nullptr; }
  /// Why the file cannot be used; empty: it can.
  [[nodiscard]] const std::string& fault() const { return fault_; }
  /// The file; nullptr if there is none.
  static const char* file();

  /// `ssl_context`: an SSL_CTX of OpenSSL, as CURLOPT_SSL_CTX_FUNCTION hands it over. Only if is_usable().
  void use_in(void* ssl_context) const;

 private:
  TrustStore();

  std::shared_ptr<x509_store_st> store_;
  std::string fault_;
};

}  // namespace bailian
