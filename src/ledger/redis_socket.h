#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "ledger/host_lookup.h"

struct ssl_ctx_st;
struct ssl_st;

namespace bailian {

/// Trusts the certificate authorities of the system, or those of SSL_CERT_FILE and SSL_CERT_DIR in the
/// environment. Made once: reading them takes 20 ms. Throws std::runtime_error.
class RedisTls {
 public:
  RedisTls();
  [[nodiscard]] ssl_ctx_st* context() const { return context_.get(); }

 private:
  std::unique_ptr<ssl_ctx_st, void (*)(ssl_ctx_st*)> context_;
};

/// A connected socket that never blocks, with or without TLS. What fails throws std::runtime_error, whose
/// text is for the log.
class RedisSocket {
 public:
  /// Begins to connect. `tls`: nullptr for none; `host`: of the certificate.
  RedisSocket(const SocketAddress& address, const RedisTls* tls, const std::string& host);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// What to wait for before the next call: IoEvent::kRead, kWrite or both.
  [[nodiscard]] short interest() const;

  /// Whether the connection is ready for use; goes on with making it so.
  bool advance();
  /// Appends what has arrived. False: the server has closed the connection.
  bool read(std::string& into);
  /// Removes from `from` what could be sent.
  void write(std::string& from);

 private:
  bool has_failed(int result, std::string_view what);

  UniqueFd fd_;
  std::unique_ptr<ssl_st, void (*)(ssl_st*)> tls_;
  bool is_connected_ = false;  // TCP
  bool is_ready_ = false;
  bool wants_write_ = true;
};

}  // namespace bailian
