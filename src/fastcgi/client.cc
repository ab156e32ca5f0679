#include "fastcgi/client.h"

#include <fastcgi.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>

#include <cassert>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "fastcgi/request_parser.h"

namespace bailian {
namespace {

constexpr std::chrono::seconds kTimeout{5};
// Holds 30,000 chats of /status?full. Parsed as JSON it takes about ten times as much memory.
constexpr size_t kMaxAnswerBytes = size_t{8} << 20;
constexpr uint16_t kRequestId = 1;

[[noreturn]] void throw_bad_answer(std::string_view what) {
  throw ExitError(EX_PROTOCOL, fmt::format("invalid answer: {}", what));
}

[[noreturn]] void throw_errno(const ListenAddress& address, int error) {
  const bool forbidden = error == EACCES || error == EPERM;
  const std::string why = std::strerror(error);  // NOLINT(concurrency-mt-unsafe)
  throw ExitError(forbidden ? EX_NOPERM : EX_UNAVAILABLE,
                  fmt::format("cannot connect to {}: {}", to_string(address), why));
}

std::string record(unsigned char type, std::string_view content) {
  std::string bytes(FCGI_HEADER_LEN, '\0');
  write_record_header(reinterpret_cast<unsigned char*>(bytes.data()), type, kRequestId, content.size());
  return bytes.append(content);
}

// Section 3.4 of the specification: lengths below 128 take one byte each.
std::string name_value(std::string_view name, std::string_view value) {
  assert(name.size() < 128 && value.size() < 128);
  std::string bytes = {static_cast<char>(name.size()), static_cast<char>(value.size())};
  return bytes.append(name).append(value);
}

std::string get_request(std::string_view uri) {
  const std::string begin = {0, FCGI_RESPONDER, 0, 0, 0, 0, 0, 0};
  return record(FCGI_BEGIN_REQUEST, begin) +
         record(FCGI_PARAMS, name_value("REQUEST_METHOD", "GET") + name_value("REQUEST_URI", uri)) +
         record(FCGI_PARAMS, {}) + record(FCGI_STDIN, {});
}

UniqueFd connect_unix(const UnixAddress& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address.path.copy(name.sun_path, sizeof name.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    throw_errno(address, errno);
  }
  return fd;
}

UniqueFd connect_tcp(const TcpAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) {
    throw ExitError(EX_UNAVAILABLE,
                    fmt::format("cannot connect to {}: {}", to_string(address), ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
  UniqueFd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || (::connect(fd.get(), list->ai_addr, list->ai_addrlen) != 0 && errno != EINPROGRESS)) {
    throw_errno(address, errno);
  }
  return fd;
}

}  // namespace

bool FcgiAnswer::feed(std::string_view bytes) {
  record_.append(bytes);
  size_t at = 0;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(record_[at + i]); };
  while (record_.size() - at >= FCGI_HEADER_LEN) {
    if (byte(0) != FCGI_VERSION_1) throw_bad_answer("it is not FastCGI");
    const size_t content = size_t{byte(4)} << 8 | byte(5);
    const size_t padding = byte(6);
    if (record_.size() - at < FCGI_HEADER_LEN + content + padding) break;
    if (byte(1) == FCGI_END_REQUEST) return true;
    if (byte(1) == FCGI_STDOUT) content_.append(record_, at + FCGI_HEADER_LEN, content);
    if (content_.size() > kMaxAnswerBytes) throw_bad_answer("it is longer than 8 MiB");
    at += FCGI_HEADER_LEN + content + padding;
  }
  record_.erase(0, at);
  return false;
}

size_t FcgiAnswer::head_bytes() const {
  constexpr std::string_view kBlankLine = "\r\n\r\n";
  const size_t end = content_.find(kBlankLine);
  if (end == std::string::npos) throw_bad_answer("it has no headers");
  return end + kBlankLine.size();
}

int FcgiAnswer::status() const {
  constexpr std::string_view kStatus = "Status: ";
  const std::string_view head = std::string_view(content_).substr(0, head_bytes());
  if (!head.starts_with(kStatus)) return 200;
  int status = 0;
  std::from_chars(head.data() + kStatus.size(), head.data() + head.size(), status);
  return status;
}

std::string_view FcgiAnswer::body() const { return std::string_view(content_).substr(head_bytes()); }

FcgiGet::FcgiGet(EventLoop& loop, ListenAddress address, std::string_view uri, OnAnswer on_answer,
                 OnError on_error)
    : address_(std::move(address)),
      on_answer_(std::move(on_answer)),
      on_error_(std::move(on_error)),
      request_(get_request(uri)),
      io_(loop, bind<&FcgiGet::on_ready>(this), bind<&FcgiGet::on_exception>(this)),
      begin_(loop, bind<&FcgiGet::start>(this), bind<&FcgiGet::on_exception>(this)),
      deadline_(loop, bind<&FcgiGet::on_deadline>(this), bind<&FcgiGet::on_exception>(this)) {
  begin_.start(Clock::duration::zero());
}

void FcgiGet::start() {
  deadline_.start(kTimeout);
  const auto* local = std::get_if<UnixAddress>(&address_);
  fd_ = local != nullptr ? connect_unix(*local) : connect_tcp(std::get<TcpAddress>(address_));
  io_.watch(fd_.get(), IoEvent::kWrite);
}

void FcgiGet::on_ready(short ready) { (ready & IoEvent::kWrite) != 0 ? send_some() : receive_some(); }

void FcgiGet::on_deadline() {
  throw ExitError(EX_UNAVAILABLE, fmt::format("{} does not answer", to_string(address_)));
}

void FcgiGet::on_exception(const std::exception& error) {
  end();
  on_error_(error);
}

void FcgiGet::send_some() {
  const ssize_t sent = ::send(fd_.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (sent < 0) throw_errno(address_, errno);
  request_.erase(0, static_cast<size_t>(sent));
  if (request_.empty()) io_.watch(fd_.get(), IoEvent::kRead);
}

void FcgiGet::receive_some() {
  char buffer[65536];
  const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) throw_errno(address_, errno);
  if (got == 0) throw_bad_answer("the connection was closed before its end");
  if (!answer_.feed({buffer, static_cast<size_t>(got)})) return;
  end();
  on_answer_(answer_);
}

void FcgiGet::end() {
  io_.unwatch();
  deadline_.cancel();
}

}  // namespace bailian
