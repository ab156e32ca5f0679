#include "ledger/redis_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "base/file.h"

namespace bailian {
namespace {

constexpr size_t kReadBytes = size_t{16} << 10;

[[noreturn]] void throw_tls(const std::string& what) {
  const unsigned long code = ::ERR_get_error();
  const char* reason = ::ERR_reason_error_string(code);
  ::ERR_clear_error();
  throw std::runtime_error(what + ": " + (reason != nullptr ? reason : "TLS failed"));
}

bool is_ip(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> number{};
  return ::inet_pton(AF_INET, host.c_str(), number.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), number.data()) == 1;
}

// Names the fault of the server's certificate, which OpenSSL's own reason does not.
std::string handshake_failure(const SSL* tls) {
  const long verdict = ::SSL_get_verify_result(tls);
  if (verdict == X509_V_OK) return "TLS handshake";
  return std::string("certificate of the server: ") + ::X509_verify_cert_error_string(verdict);
}

}  // namespace

RedisTls::RedisTls() : context_(::SSL_CTX_new(::TLS_client_method()), &::SSL_CTX_free) {
  if (!context_) throw_tls("TLS");
  ::SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
  ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
  ::SSL_CTX_set_mode(context_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (::SSL_CTX_set_default_verify_paths(context_.get()) != 1) throw_tls("certificate authorities");
}

RedisSocket::RedisSocket(const SocketAddress& address, const RedisTls* tls, const std::string& host)
    : fd_(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      tls_(nullptr, &::SSL_free) {
  if (!fd_) throw_errno("socket");
  if (address.storage.ss_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (tls != nullptr) {
    tls_.reset(::SSL_new(tls->context()));
    if (!tls_) throw_tls("TLS");
    X509_VERIFY_PARAM* const wanted = ::SSL_get0_param(tls_.get());
    const bool is_set = is_ip(host) ? ::X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1
                                    : ::SSL_set1_host(tls_.get(), host.c_str()) == 1 &&
                                          ::SSL_set_tlsext_host_name(tls_.get(), host.c_str()) == 1;
    if (!is_set || ::SSL_set_fd(tls_.get(), fd_.get()) != 1) throw_tls("TLS");
    ::SSL_set_connect_state(tls_.get());
  }
  // A full backlog of a unix socket is EAGAIN: nothing will be writable then, so it is a failure.
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.bytes) == 0) {
    is_connected_ = true;
  } else if (errno != EINPROGRESS) {
    throw_errno("connect");
  }
}

short RedisSocket::interest() const {
  return wants_write_ ? IoEvent::kRead | IoEvent::kWrite : short{IoEvent::kRead};
}

bool RedisSocket::advance() {
  if (is_ready_) return true;
  if (!is_connected_) {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) throw_errno("connect");
    if (error != 0) throw std::system_error(error, std::generic_category(), "connect");
    sockaddr_storage peer{};
    socklen_t bytes = sizeof peer;
    if (::getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &bytes) != 0) return false;
    is_connected_ = true;
  }
  wants_write_ = false;
  if (tls_) {
    ::ERR_clear_error();
    const int result = ::SSL_do_handshake(tls_.get());
    if (result != 1) {
      has_failed(result, "TLS handshake");
      return false;
    }
  }
  is_ready_ = true;
  return true;
}

bool RedisSocket::read(std::string& into) {
  assert(is_ready_);
  std::array<char, kReadBytes> bytes;
  for (;;) {
    ssize_t got = 0;
    if (tls_) {
      ::ERR_clear_error();
      got = ::SSL_read(tls_.get(), bytes.data(), static_cast<int>(bytes.size()));
      if (got <= 0) return !has_failed(static_cast<int>(got), "read");
    } else {
      got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
      if (got == 0) return false;
      if (got < 0) {
        if (errno == EAGAIN || errno == EINTR) return true;
        throw_errno("read");
      }
    }
    into.append(bytes.data(), static_cast<size_t>(got));
    // What the kernel still has makes the socket readable again; what OpenSSL has would not.
    if (into.size() > 4 * kReadBytes && (!tls_ || ::SSL_pending(tls_.get()) == 0)) return true;
  }
}

void RedisSocket::write(std::string& from) {
  assert(is_ready_);
  size_t sent = 0;
  wants_write_ = false;
  while (sent < from.size()) {
    ssize_t done = 0;
    if (tls_) {
      ::ERR_clear_error();
      done = ::SSL_write(tls_.get(), from.data() + sent, static_cast<int>(from.size() - sent));
      if (done <= 0) {
        if (has_failed(static_cast<int>(done), "write"))
          throw std::runtime_error("the server has closed the connection");
        break;
      }
    } else {
      done = ::send(fd_.get(), from.data() + sent, from.size() - sent, MSG_NOSIGNAL);
      if (done < 0) {
        if (errno != EAGAIN && errno != EINTR) throw_errno("write");
        wants_write_ = true;
        break;
      }
    }
    sent += static_cast<size_t>(done);
  }
  from.erase(0, sent);
}

// After a call of OpenSSL that has done nothing: true if the connection has ended. Throws what is an error.
bool RedisSocket::has_failed(int result, std::string_view what) {
  const int error = errno;
  switch (::SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return false;
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      return false;
    case SSL_ERROR_ZERO_RETURN:
      return true;
    case SSL_ERROR_SYSCALL:
      if (error == 0) return true;
      throw std::system_error(error, std::generic_category(), std::string(what));
    default:
      throw_tls(is_ready_ ? std::string(what) : handshake_failure(tls_.get()));
  }
}

}  // namespace bailian
