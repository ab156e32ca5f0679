#include "fastcgi/connection.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "fastcgi/listener.h"

namespace bailian {
namespace {

// How long a peer may take over a request. nginx sends it in one go; only a broken or hostile peer is slow.
constexpr std::chrono::seconds kHeaderDeadline{10};
constexpr std::chrono::seconds kDrainingDeadline{1};
constexpr std::chrono::seconds kBodyDeadline{30};
// nginx closes idle connections itself (keepalive_timeout, 60 s).
constexpr std::chrono::seconds kParkedDeadline{300};
// nginx may be about to send a request on a parked connection.
constexpr std::chrono::seconds kParkedDrainingDeadline{2};

// FCGI_GET_VALUES_RESULT without a value. Bytes behind END_REQUEST make nginx close a connection that it
// would keep (ngx_http_fastcgi_input_filter); were it closed here, nginx might have sent the next request by
// then, and would answer it 502.
constexpr std::string_view kGoodbye{"\1\12\0\0\0\0\0\0", 8};

// nginx reads an answer 4 KiB at a time: an event that does not wholly fit behind what it has not read yet
// would reach the browser in two chunks.
constexpr size_t kPeerReadBytes = 4096;

// The kernel tells of the last byte read while the reader is still inside recv(), where it would take the
// start of the next record too.
constexpr std::chrono::milliseconds kPeerReadTime{1};
// After so long a pause the reader is through with what it was sent before.
constexpr std::chrono::milliseconds kPause{10};

// While the kernel is freeing the last buffer, one byte of it still counts as unread.
constexpr int kNothingUnread = 1;

constexpr std::string_view kStopping = "the program is stopping";

constexpr size_t kReceiveBytes = 65536;
constexpr int kReceivesPerIteration = 16;

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

bool has_body(int status) { return status != 204 && status != 304; }

}  // namespace

FcgiConnection::FcgiConnection(FcgiListener& listener, UniqueFd fd, bool local)
    : listener_(listener),
      fd_(std::move(fd)),
      local_(local),
      records_(listener.limits().max_body_bytes, listener.limits().max_streams),
      readable_(listener.loop(), bind<&FcgiConnection::receive>(this),
                bind<&FcgiConnection::on_exception>(this)),
      flush_(listener.loop(), bind<&FcgiConnection::flush>(this), bind<&FcgiConnection::on_exception>(this)) {
  // One descriptor can't be watched with both triggers, and the writing side needs the edge.
  readable_.watch(fd_.get(), IoEvent::kRead, IoEvent::Trigger::kEdge);
  start_deadline(listener_.draining() ? kDrainingDeadline : kHeaderDeadline);
}

FcgiConnection::~FcgiConnection() {
  if (state_ != State::kAnswering && state_ != State::kEnding) return;
  describe_exchange();
  record_.outcome = Outcome::kError;
  try {
    if (record_.detail.empty()) record_.detail = kStopping;
  } catch (const std::exception&) {  // out of memory: the line goes without
  }
  record_end();
}

// What fails for want of memory, or of the kernel's, ends this connection and no other: of a request that was
// taken in by half nothing can be made.
template <typename Call>
void FcgiConnection::guarded(Call call) noexcept {
  try {
    call();
  } catch (const std::exception& error) {
    on_exception(error);
  }
}

void FcgiConnection::on_exception(const std::exception& error) noexcept {
  log(LogLevel::kError, "connection_failed", error.what());
  close(Outcome::kError);
}

// --- the request ---

void FcgiConnection::receive() {
  static thread_local unsigned char buffer[kReceiveBytes];
  for (int i = 0; i < kReceivesPerIteration; ++i) {
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) return close(Outcome::kClientGone);
    if (!take({buffer, static_cast<size_t>(got)})) return;
  }
  readable_.again();
}

// False when nothing more is to be read.
bool FcgiConnection::take(std::span<const unsigned char> bytes) {
  const bool had_params = records_.has_params();
  if (!records_.feed(bytes)) {
    listener_.note_bad_request(records_.fault());
    close(state_ == State::kAnswering || state_ == State::kEnding ? Outcome::kClientGone : Outcome::kError);
    return false;
  }
  if (const std::string replies = records_.take_replies(); !replies.empty()) send_replies(replies);
  if (state_ == State::kParked && (!records_.is_idle() || records_.is_closing())) {
    state_ = State::kReading;
    listener_.settle(*this, Stage::kRequest);
    start_deadline(listener_.draining() ? kDrainingDeadline : kHeaderDeadline);
  }
  if (state_ == State::kReading) {
    if (!had_params && records_.has_params() &&
        (records_.params_too_large() ||
         !listener_.takes_body(records_.param("REQUEST_METHOD"), requested_path(records_)))) {
      records_.drop_body();
    }
    if (records_.state() == FcgiRequestParser::State::kComplete) {
      start_exchange();
    } else if (!had_params && records_.has_params()) {
      start_deadline(listener_.draining() ? kDrainingDeadline : kBodyDeadline);
    }
  }
  if (records_.aborted()) abort_exchange();
  return state_ != State::kGone;
}

// While no answer is under way the socket has room for these few bytes, or the peer reads nothing.
void FcgiConnection::send_replies(std::string_view records) {
  if (state_ == State::kAnswering || state_ == State::kEnding) {
    output_.add_records(records);
    flush_.schedule();
    return;
  }
  const ssize_t sent = ::send(fd_.get(), records.data(), records.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(records.size())) return close(Outcome::kClientGone);
  // What the peer still sends is read until it hangs up: a socket closed before that may lose the reply.
  if (records_.is_closing()) ::shutdown(fd_.get(), SHUT_WR);
}

std::optional<Request> FcgiConnection::read_request() {
  try {
    auto request = listener_.request_reader().read(records_);
    if (!request) log(LogLevel::kError, "request_failed", "libfcgi does not take the request");
    return request;
  } catch (const std::exception& error) {
    log(LogLevel::kError, "request_failed", error.what());
    return std::nullopt;
  }
}

void FcgiConnection::start_exchange() {
  const auto request = read_request();
  if (!request) return close(Outcome::kError);
  deadline_.reset();
  keep_ = records_.keep_conn();
  output_.start(records_.request_id());
  records_.release_wire();
  constexpr size_t kMaxLoggedPathBytes = 256;
  record_ = {};
  record_.started = Clock::now();
  record_.request_id = request->request_id;
  record_.method = request->method;
  record_.path = request->path.substr(0, kMaxLoggedPathBytes);
  stalled_at_.reset();
  head_only_ = request->method == "HEAD";
  events_ = false;
  state_ = State::kAnswering;
  listener_.settle(*this, Stage::kAnswer);
  listener_.board().requests += 1;
  exchange_ = listener_.handle(*request, *this);
}

// --- the answer ---

void FcgiConnection::write_head(const Reply& reply) {
  record_.status = reply.status;
  std::string head = fmt::format("Status: {} {}\r\n", reply.status, reason_phrase(reply.status));
  for (const auto& [name, value] : reply.headers) head.append(name).append(": ").append(value).append("\r\n");
  if (!events_ && has_body(reply.status)) head += fmt::format("Content-Length: {}\r\n", reply.body.size());
  head += "\r\n";
  output_.write(head);
}

void FcgiConnection::send(const Reply& reply) {
  if (state_ != State::kAnswering) return;
  if (reply.status >= 400) record_.outcome = Outcome::kError;
  record_.endpoint = reply.endpoint;
  guarded([&] {
    record_.upstream_code = reply.upstream_code;
    record_.detail = reply.detail;
    write_head(reply);
    if (!head_only_ && has_body(reply.status)) output_.write(reply.body);
    finish();
  });
}

void FcgiConnection::begin(const Reply& head) {
  if (state_ != State::kAnswering) return;
  events_ = true;
  guarded([&] { write_head(head); });
  flush_.schedule();
}

void FcgiConnection::write(std::string_view event) {
  if (state_ != State::kAnswering) return;
  guarded([&] { output_.write_event(event); });
  flushed_notified_ = false;
  flush_.schedule();
}

void FcgiConnection::finish() {
  if (state_ != State::kAnswering) return;
  guarded([&] {
    output_.end();
    state_ = State::kEnding;
    ends_by_ = Clock::now() + listener_.limits().last_bytes_timeout;
    if (keep_ && listener_.draining()) {
      output_.add_records(kGoodbye);
      is_last_ = std::exchange(said_goodbye_, true);
    }
  });
  flush_.schedule();
}

void FcgiConnection::cut() {
  if (exchange_ && state_ == State::kAnswering) guarded([&] { exchange_->on_shutdown(); });
}

// The peer no longer wants the answer but may want the connection. Called with nothing of the exchange on the
// stack.
void FcgiConnection::abort_exchange() {
  if (state_ != State::kAnswering) return;  // a complete answer is about to end anyway
  describe_exchange();
  record_.outcome = Outcome::kClientGone;
  exchange_.reset();
  output_.abort();
  state_ = State::kEnding;
  ends_by_ = Clock::now() + listener_.limits().last_bytes_timeout;
  flush_.schedule();
}

void FcgiConnection::flush() {
  if (state_ == State::kGone) return listener_.remove(*this);
  if (state_ == State::kReading || state_ == State::kParked) return;
  if (state_ == State::kAnswering) output_.flush();
  while (output_.waiting_bytes() > 0) {
    if (!send_some()) return;
  }
  wait_for_room(false);
  if (state_ == State::kEnding) return end_exchange();
  if (exchange_ && !std::exchange(flushed_notified_, true)) exchange_->on_flushed();
}

// False when the peer must read first, or is gone.
bool FcgiConnection::send_some() {
  std::string_view bytes = output_.all_records();
  if (paced()) {
    bytes = output_.next_records(kPeerReadBytes - unread_bytes_);
    if (bytes.empty() && Clock::now() - last_sent_ >= kPause && peer_has_read_all()) {
      unread_bytes_ = 0;
      bytes = output_.next_records(kPeerReadBytes);
    }
    if (bytes.empty() && unread_bytes_ == 0) bytes = output_.all_records();  // a head longer than any read
    if (bytes.empty()) {
      wait_for_room(true);
      return false;
    }
  }
  const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno == EINTR) return true;
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    wait_for_room(true);
    return false;
  }
  if (sent < 0) {
    close(Outcome::kClientGone);
    return false;
  }
  output_.consume(static_cast<size_t>(sent));
  record_.sent_bytes += static_cast<uint64_t>(sent);
  listener_.sent_bytes() += static_cast<uint64_t>(sent);
  if (exchange_) exchange_->on_sent();
  if (paced()) {
    unread_bytes_ = std::min(unread_bytes_ + static_cast<size_t>(sent), kPeerReadBytes);
    last_sent_ = Clock::now();
    if (peer_done_) peer_done_->cancel();
  }
  return true;
}

bool FcgiConnection::paced() const { return local_ && events_; }

bool FcgiConnection::peer_has_read_all() const {
  int unread = 0;
  return ::ioctl(fd_.get(), SIOCOUTQ, &unread) != 0 || unread <= kNothingUnread;
}

void FcgiConnection::on_writable() {
  if (!paced() || unread_bytes_ == 0) return flush_.schedule();
  if (!peer_has_read_all()) return;
  if (!peer_done_) {
    peer_done_.emplace(listener_.loop(), bind<&FcgiConnection::on_peer_done>(this));
  }
  peer_done_->start(kPeerReadTime);
}

void FcgiConnection::on_peer_done() {
  unread_bytes_ = 0;
  flush_.schedule();
}

// The peer's reading wakes the edge-triggered writable_; how long it may take over it is limited.
void FcgiConnection::wait_for_room(bool waiting) {
  if (!waiting) {
    if (!stalled_at_) return;
    writable_->unwatch();
    deadline_.reset();
    stalled_at_.reset();
    return;
  }
  if (!writable_) {
    writable_.emplace(listener_.loop(), bind<&FcgiConnection::on_writable>(this),
                      bind<&FcgiConnection::on_exception>(this));
  }
  writable_->watch(fd_.get(), IoEvent::kWrite, IoEvent::Trigger::kEdge);
  if (record_.sent_bytes != stalled_at_) {
    stalled_at_ = record_.sent_bytes;
    Clock::duration limit = listener_.limits().client_stall_timeout;
    // A browser that takes a little now and then must end too.
    if (state_ == State::kEnding) limit = std::clamp(ends_by_ - Clock::now(), Clock::duration::zero(), limit);
    start_deadline(limit);
  }
}

void FcgiConnection::end_exchange() {
  describe_exchange();
  record_end();
  exchange_.reset();
  if (keep_ && !is_last_) return park();
  state_ = State::kGone;
  flush_.schedule();
}

void FcgiConnection::describe_exchange() noexcept {
  try {
    if (exchange_) exchange_->describe(record_);
    if (record_.has_stalled) record_.detail = "the browser is too slow";
  } catch (const std::exception&) {  // out of memory: the line says less
  }
}

void FcgiConnection::record_end() noexcept {
  const auto now = Clock::now();
  log_request(record_, now);
  listener_.slow_log().note(record_, now);
  listener_.metrics().count_request(record_, now);
}

void FcgiConnection::park() {
  state_ = State::kParked;
  listener_.settle(*this, Stage::kParked);
  records_.expect_next(listener_.limits().max_body_bytes);
  start_deadline(listener_.draining() ? kParkedDrainingDeadline : kParkedDeadline);
}

void FcgiConnection::drain() {
  guarded([this] {
    if (state_ == State::kParked) start_deadline(kParkedDrainingDeadline);
    if (state_ == State::kReading) start_deadline(kDrainingDeadline);
  });
}

void FcgiConnection::start_deadline(std::chrono::steady_clock::duration after) {
  if (!deadline_) {
    deadline_.emplace(listener_.loop(), bind<&FcgiConnection::on_deadline>(this),
                      bind<&FcgiConnection::on_exception>(this));
  }
  deadline_->start(after);
}

void FcgiConnection::on_deadline() {
  record_.has_stalled = state_ == State::kAnswering || state_ == State::kEnding;
  close(Outcome::kClientGone);
}

// The request under way, if there is one, ends here as `outcome`; the upstream is left alone at the end of
// this iteration, when nothing of the exchange is on the stack.
void FcgiConnection::close(Outcome outcome) noexcept {
  if (state_ == State::kGone) return;
  if (state_ == State::kAnswering || state_ == State::kEnding) {
    describe_exchange();
    record_.outcome = outcome;
    record_end();
  }
  state_ = State::kGone;
  flush_.schedule();
}

}  // namespace bailian
