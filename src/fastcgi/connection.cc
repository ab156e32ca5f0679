#include "fastcgi/connection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>

#include "base/log.h"
#include "fastcgi/reply_head.h"

namespace bailian {
namespace {

// An FCGI_GET_VALUES_RESULT without a value. nginx would keep the connection, but closes it if bytes follow
// END_REQUEST (ngx_http_fastcgi_input_filter). If we closed it, nginx might already have sent the next
// request, and would answer that with 502.
constexpr std::string_view kCloseRequest{"\1\12\0\0\0\0\0\0", 8};

constexpr size_t kReceiveBytes = 65536;
constexpr int kReceivesPerIteration = 16;
constexpr size_t kMaxLoggedPathBytes = 256;

constexpr bool may_follow(FcgiState state, FcgiState next) {
  if (next == FcgiState::kClosed) return state != next;
  // The states before kParked, kReading, kAnswering and kFinishing.
  constexpr std::array kBefore = {FcgiState::kFinishing, FcgiState::kParked, FcgiState::kReading,
                                  FcgiState::kAnswering};
  return state == kBefore.at(static_cast<size_t>(next));
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

FcgiConnection::FcgiConnection(FcgiContext& context, UniqueFd fd, bool is_local)
    : context_(context),
      fd_(std::move(fd)),
      is_local_(is_local),
      intake_(context),
      readable_(context.loop, bind<&FcgiConnection::on_readable>(this),
                bind<&FcgiConnection::on_exception>(this)),
      deadline_(context.loop, bind<&FcgiConnection::on_deadline>(this),
                bind<&FcgiConnection::on_exception>(this)),
      iteration_end_(context.loop, bind<&FcgiConnection::on_iteration_end>(this),
                     bind<&FcgiConnection::on_exception>(this)) {
  // One descriptor cannot be watched with both triggers, and writable_ needs the edge.
  readable_.watch(fd_.get(), IoEvent::kRead, IoEvent::Trigger::kEdge);
  deadline_.start(intake_.deadline());
}

FcgiConnection::~FcgiConnection() {
  if (has_request()) record_end(Outcome::kError, "the program is stopping");
}

void FcgiConnection::enter(FcgiState next) noexcept {
  assert(may_follow(state_, next));
  if (next == FcgiState::kClosed) {
    readable_.unwatch();
    deadline_.cancel();
    if (writable_) writable_->unwatch();
    if (peer_read_) peer_read_->cancel();
  }
  context_.before_enter(*this, next);
  state_ = next;
  entered_at_ = Clock::now();
}

bool FcgiConnection::has_request() const {
  return state_ == FcgiState::kAnswering || state_ == FcgiState::kFinishing;
}

// --- the request ---

void FcgiConnection::on_readable() {
  static thread_local unsigned char buffer[kReceiveBytes];
  for (int i = 0; i < kReceivesPerIteration; ++i) {
    const ssize_t received = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && would_block()) return;
    if (received <= 0) return close(Outcome::kClientGone);
    if (!take({buffer, static_cast<size_t>(received)})) return;
  }
  readable_.again();
}

// False: there is nothing more to receive.
bool FcgiConnection::take(std::span<const unsigned char> bytes) {
  const FcgiIntake::Phase phase = intake_.phase();
  if (!intake_.take(bytes)) {
    close(Outcome::kClientGone);
    return false;
  }
  if (const std::string replies = intake_.take_replies(); !replies.empty()) send_replies(replies);
  if (state_ == FcgiState::kParked && intake_.phase() != FcgiIntake::Phase::kParked)
    enter(FcgiState::kReading);
  if (state_ == FcgiState::kReading && intake_.phase() == FcgiIntake::Phase::kComplete) {
    start_exchange();
  } else if (state_ == FcgiState::kReading && intake_.phase() != phase) {
    deadline_.start(intake_.deadline());
  }
  if (intake_.aborted()) abort_exchange();
  return state_ != FcgiState::kClosed;
}

// While no answer is in progress, the socket has room for these few bytes, unless the peer does not read.
void FcgiConnection::send_replies(std::string_view records) {
  if (has_request()) {
    output_.add_records(records);
    return iteration_end_.schedule();
  }
  const ssize_t sent = ::send(fd_.get(), records.data(), records.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(records.size())) return close(Outcome::kClientGone);
  // The connection is read until the peer hangs up: a socket closed earlier may lose the reply.
  if (intake_.is_closing()) ::shutdown(fd_.get(), SHUT_WR);
}

void FcgiConnection::start_exchange() {
  const auto request = intake_.read_request();
  if (!request) return close(Outcome::kError);
  deadline_.cancel();
  keep_ = intake_.keep_conn();
  is_head_ = request->method == "HEAD";
  flushed_notified_ = true;
  pacer_ = Pacer();
  output_.start(intake_.request_id());
  record_ = {};
  record_.started = Clock::now();
  record_.request_id = request->request_id;
  record_.method = request->method;
  record_.path = request->path.substr(0, kMaxLoggedPathBytes);
  context_.board.requests += 1;
  enter(FcgiState::kAnswering);
  exchange_ = context_.handler.handle(*request, *this);
  assert(exchange_ || state_ != FcgiState::kAnswering);
  if (context_.stopping) iteration_end_.schedule();
}

// The peer no longer wants the answer but may want the connection. Nothing of the exchange is on the stack.
void FcgiConnection::abort_exchange() {
  if (state_ != FcgiState::kAnswering) return;  // a complete answer is about to end anyway
  describe_exchange();
  record_.outcome = Outcome::kClientGone;
  exchange_.reset();
  output_.abort();
  start_finishing();
}

// --- the answer ---

void FcgiConnection::send(const Reply& reply) {
  if (state_ != FcgiState::kAnswering) return;
  assert(record_.status == 0);
  if (reply.status >= 400) record_.outcome = Outcome::kError;
  reply.describe(record_);
  output_.write(reply_head(reply, reply.body.size()));
  record_.status = reply.status;
  if (!is_head_ && has_body(reply.status)) output_.write(reply.body);
  finish();
}

void FcgiConnection::begin(const Reply& head) {
  if (state_ != FcgiState::kAnswering) return;
  assert(record_.status == 0);
  pacer_ = Pacer(is_local_);
  output_.write(reply_head(head));
  record_.status = head.status;
  iteration_end_.schedule();
}

void FcgiConnection::write(std::string_view event) {
  if (state_ != FcgiState::kAnswering) return;
  output_.write_event(event);
  flushed_notified_ = false;
  iteration_end_.schedule();
}

void FcgiConnection::finish() {
  if (state_ != FcgiState::kAnswering) return;
  output_.end();
  if (keep_ && context_.draining) {
    output_.add_records(kCloseRequest);
    keep_ = !std::exchange(asked_to_close_, true);
  }
  start_finishing();
}

void FcgiConnection::start_finishing() {
  enter(FcgiState::kFinishing);
  finish_by_ = Clock::now() + context_.limits.last_bytes_timeout;
  iteration_end_.schedule();
}

void FcgiConnection::on_iteration_end() {
  if (state_ == FcgiState::kAnswering && context_.stopping) exchange_->on_shutdown();
  if (!has_request()) return;
  if (state_ == FcgiState::kAnswering) output_.flush();
  while (output_.waiting_bytes() > 0 && send_some()) {
  }
  if (state_ == FcgiState::kClosed) return;
  if (output_.waiting_bytes() > 0) return arm_writable();
  disarm_writable();
  if (state_ == FcgiState::kFinishing) return end_exchange();
  if (!std::exchange(flushed_notified_, true)) exchange_->on_flushed();
}

// False: the peer must read first, or is gone.
bool FcgiConnection::send_some() {
  const std::string_view records = sendable();
  if (records.empty()) return false;
  const ssize_t sent = ::send(fd_.get(), records.data(), records.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno == EINTR) return true;
  if (sent < 0) {
    if (!would_block()) close(Outcome::kClientGone);
    return false;
  }
  const auto bytes = static_cast<size_t>(sent);
  output_.consume(bytes);
  pacer_.on_sent(bytes, Clock::now());
  if (peer_read_) peer_read_->cancel();
  record_.sent_bytes += bytes;
  context_.sent_bytes += bytes;
  if (exchange_) exchange_->on_sent();
  return true;
}

std::string_view FcgiConnection::sendable() {
  std::string_view records = output_.next_records(pacer_.room());
  if (records.empty() && pacer_.may_recount(Clock::now()) && peer_has_read_all()) {
    pacer_.on_peer_read_all();
    records = output_.next_records(pacer_.room());
  }
  // A record that is longer than a read is cut in any case.
  return records.empty() && !pacer_.has_unread() ? output_.next_records() : records;
}

// An error is no reason to hold bytes back.
bool FcgiConnection::peer_has_read_all() const {
  int unread = 0;
  return ::ioctl(fd_.get(), SIOCOUTQ, &unread) != 0 || Pacer::is_nothing(unread);
}

// The peer has read: there is room, or the next event may follow.
void FcgiConnection::on_writable() {
  if (!pacer_.has_unread()) return iteration_end_.schedule();
  if (!peer_has_read_all()) return;
  if (!peer_read_) peer_read_.emplace(context_.loop, bind<&FcgiConnection::on_peer_read>(this));
  peer_read_->start(Pacer::kPeerReadTime);
}

void FcgiConnection::on_peer_read() {
  pacer_.on_peer_read_all();
  iteration_end_.schedule();
}

// While bytes wait: edge-triggered, as only the peer's reads matter, and each should come soon.
void FcgiConnection::arm_writable() {
  if (!writable_)
    writable_.emplace(context_.loop, bind<&FcgiConnection::on_writable>(this),
                      bind<&FcgiConnection::on_exception>(this));
  writable_->watch(fd_.get(), IoEvent::kWrite, IoEvent::Trigger::kEdge);
  if (stalled_at_ == record_.sent_bytes) return;
  stalled_at_ = record_.sent_bytes;
  Clock::duration limit = context_.limits.client_stall_timeout;
  // A browser that reads a little now and then must not hold the connection forever.
  if (state_ == FcgiState::kFinishing)
    limit = std::clamp(finish_by_ - Clock::now(), Clock::duration::zero(), limit);
  deadline_.start(limit);
}

void FcgiConnection::disarm_writable() noexcept {
  if (!stalled_at_) return;
  writable_->unwatch();
  deadline_.cancel();
  stalled_at_.reset();
}

// --- the end ---

void FcgiConnection::end_exchange() {
  record_end({}, {});
  exchange_.reset();
  if (!keep_) return enter(FcgiState::kClosed);
  enter(FcgiState::kParked);
  intake_.park();
  deadline_.start(intake_.deadline());
}

// `outcome`, if the connection ended the exchange, overrides the exchange's own.
void FcgiConnection::record_end(std::optional<Outcome> outcome, std::string_view detail) noexcept {
  describe_exchange(detail);
  if (outcome) record_.outcome = *outcome;
  const auto now = Clock::now();
  log_request(record_, now);
  context_.slow_log.note(record_, now);
  context_.metrics.count_request(record_, now);
}

void FcgiConnection::describe_exchange(std::string_view detail) noexcept {
  try {
    if (exchange_) exchange_->describe(record_);
    if (record_.detail.empty()) record_.detail = detail;
    if (record_.has_stalled) record_.detail = "the browser is too slow";
  } catch (const std::exception&) {  // out of memory: the log line has less
  }
}

// At once: later in this iteration, a transfer might send its request.
void FcgiConnection::stop() noexcept {
  assert(context_.stopping);
  iteration_end_.run();
}

void FcgiConnection::drain() {
  assert(context_.draining);
  if (!has_request() && state_ != FcgiState::kClosed) deadline_.start(intake_.deadline());
}

void FcgiConnection::on_deadline() {
  assert(state_ != FcgiState::kClosed);
  record_.has_stalled = has_request();
  close(Outcome::kClientGone);
}

void FcgiConnection::on_exception(const std::exception& error) noexcept {
  log(LogLevel::kError, "connection_failed", error.what());
  close(Outcome::kError);
}

// The exchange itself asks for it, so it stays until the end of the iteration.
void FcgiConnection::abort() noexcept {
  if (state_ == FcgiState::kClosed) return;
  if (has_request()) record_end(Outcome::kError, {});
  enter(FcgiState::kClosed);
}

// Nothing of the exchange is on the stack. It ends at once: later in this iteration, its transfer might send
// a request that nobody waits for.
void FcgiConnection::close(Outcome outcome) noexcept {
  if (state_ == FcgiState::kClosed) return;
  if (has_request()) record_end(outcome, {});
  enter(FcgiState::kClosed);
  exchange_.reset();
}

}  // namespace bailian
