#include "dashscope/completion.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "dashscope/api.h"
#include "dashscope/error_codes.h"
#include "dashscope/targets.h"

namespace bailian {
namespace {

constexpr Seconds kFirstBackOff{0.25};
// If the upstream asks for a longer pause, the visitor gets an error with that time in it.
constexpr std::chrono::seconds kLongestWait{10};
constexpr std::chrono::seconds kLongestRetryAfter{120};

// An error of the target alone.
UpstreamError of_target(UpstreamError error) {
  error.cool_down = describe(error.fault).cool_down;
  return error;
}

UpstreamError transfer_error(const TransferResult& result) {
  switch (result.fault) {
    case TransferFault::kConnectTimeout:
      return of_target({UpstreamFault::kTimeout, "connect_timeout", result.detail, {}, true});
    case TransferFault::kConnect:
      return of_target({UpstreamFault::kConnect, "connect_failed", result.detail, {}, true});
    case TransferFault::kUntrusted:
      return of_target({UpstreamFault::kConnect, "tls_failed", result.detail, {}, false});
    default:  // the question may have arrived
      return {UpstreamFault::kConnect, "connection_broken", result.detail, {}, false};
  }
}

std::shared_ptr<const std::string> make_body(const Question& question, std::string_view session_id,
                                             const Config& config, AnswerMode mode) {
  if (session_id == question.session_id)
    return std::make_shared<const std::string>(completion_body(question, config, mode));
  Question changed = question;
  changed.session_id = session_id;
  return std::make_shared<const std::string>(completion_body(changed, config, mode));
}

}  // namespace

Completion::Completion(Targets& targets, const Question& question, AnswerMode mode, AnswerHandler& handler,
                       Clock::time_point started)
    : targets_(targets),
      handler_(handler),
      mode_(mode),
      has_first_token_limit_(question.mode == AnswerMode::kStream),
      leave_later_(targets.loop_, bind<&Completion::leave_transfer>(this)),
      timer_(targets.loop_, bind<&Completion::on_timer>(this), bind<&Completion::on_exception>(this)),
      give_up_at_(started + to_duration(targets.config_.timeout)) {
  const SentSession session = targets.read_session(question.session_id);
  const size_t first = choose_first(session.target);
  const bool continues = session.target == first;
  has_lost_session_ = !continues && !session.id.empty();
  body_ = make_body(question, continues ? session.id : "", targets.config_, mode);
  if (continues && !session.id.empty() && targets.has_several())
    body_without_session_ = make_body(question, "", targets.config_, mode);
  start_attempt();
}

Completion::~Completion() { leave_transfer(); }

void Completion::enter(State next) {
  assert(targets_.loop_.in_loop_thread());
  assert(state_ != State::kEnded && state_ != next);
  assert(next != State::kWaiting || state_ == State::kBackingOff);
  assert(next != State::kAnswering || state_ == State::kWaiting || state_ == State::kPaused);
  assert(next != State::kPaused || state_ == State::kAnswering);
  state_ = next;
}

// The target of the session, if there is one and it can be asked. Returns the index of the target.
size_t Completion::choose_first(std::optional<size_t> preferred) {
  auto choice = targets_.choose(asked_, preferred, Clock::now());
  if (!choice) choice = targets_.choose_resting(asked_, Clock::now());
  assert(choice);
  const size_t index = choice->index;
  take(index, std::move(choice->probe));
  return index;
}

void Completion::take(size_t index, TargetHealth::Probe probe) {
  assert(!asked_[index]);
  asked_.set(index);
  client_ = &targets_.clients_[index];
  probe_ = std::move(probe);
}

void Completion::start_attempt() {
  assert(state_ == State::kWaiting && !transfer_);
  attempt_started_ = Clock::now();
  parser_ = std::make_unique<AnswerParser>(target()->api_key, targets_.has_several() ? target() : nullptr);
  transfer_ = client_->post(mode_, body_, *this);
  arm_timer();
}

bool Completion::pause() {
  if (state_ != State::kAnswering) return false;
  enter(State::kPaused);
  transfer_->pause();
  return true;
}

void Completion::resume() {
  if (state_ != State::kPaused) return;
  enter(State::kAnswering);
  last_bytes_ = Clock::now();
  transfer_->resume();
  if (state_ == State::kAnswering) arm_timer();
}

// Keeps the transfer until the end of the iteration: it may be what calls.
void Completion::cancel() noexcept {
  if (state_ == State::kEnded) return;
  end();
  leave_later_.schedule();
}

bool Completion::on_data(const ResponseHead& head, std::string_view bytes) {
  targets_.received_ += bytes.size();
  if (state_ == State::kEnded) return parser_->state() == AnswerParser::State::kFinished;
  last_bytes_ = Clock::now();
  handler_.on_bytes(last_bytes_);
  parser_->expect(head.content_type);
  parser_->feed(head.status, bytes);
  deliver_pieces();
  if (parser_->state() == AnswerParser::State::kFinished) {
    finish();                 // may throw, which the transfer reports only while it is not drained
    leave_later_.schedule();  // the visitor need not wait for the end of the response
  }
  return parser_->state() != AnswerParser::State::kFailed;
}

void Completion::on_done(const TransferResult& result) {
  if (state_ == State::kEnded) return;
  if (result.fault == TransferFault::kNone) {
    parser_->finish(result.head.status);
    deliver_pieces();
    if (state_ == State::kEnded) return;
  }
  switch (parser_->state()) {
    case AnswerParser::State::kFinished:
      return finish();
    case AnswerParser::State::kFailed: {
      UpstreamError error = parser_->error();
      if (error.fault == UpstreamFault::kThrottled)
        error.retry_after = std::min(result.head.retry_after, kLongestRetryAfter);
      return fail(error);
    }
    case AnswerParser::State::kReading:
      return fail(transfer_error(result));
  }
}

void Completion::on_exception(const std::exception& error) noexcept {
  cancel();
  handler_.on_exception(error);
}

void Completion::deliver_pieces() {
  while (const auto piece = parser_->next()) {
    note_progress();
    if (piece->kind == AnswerPiece::Kind::kText) {
      handler_.on_text(piece->text);
    } else {
      handler_.on_thought(piece->text);
    }
  }
  note_progress();
  if (parser_->is_billed() && parser_->state() != AnswerParser::State::kFinished) handler_.on_billed();
}

void Completion::note_progress() {
  if (parser_->is_billed() && body_) {
    body_.reset();
    body_without_session_.reset();
    client_->health().note_success(attempt_started_);
    probe_.reset();
  }
  // A JSON answer starts with its first byte, a stream with its first event.
  if (state_ != State::kWaiting || (mode_ == AnswerMode::kStream && !parser_->has_begun())) return;
  enter(State::kAnswering);
  arm_timer();
}

// A JSON answer has no first token, and a paused one is not idle.
Clock::time_point Completion::deadline() const {
  const Config& config = targets_.config_;
  if (state_ == State::kAnswering)
    return std::min(give_up_at_, last_bytes_ + to_duration(config.idle_timeout));
  if (state_ == State::kWaiting && has_first_token_limit_)
    return std::min(give_up_at_, attempt_started_ + to_duration(config.first_token_timeout));
  return give_up_at_;
}

// Not moved for every token: when it fires, on_timer looks at the time of the last one.
void Completion::arm_timer() { timer_.start(deadline() - Clock::now()); }

void Completion::on_timer() {
  assert(state_ != State::kEnded);
  const auto now = Clock::now();
  if (state_ == State::kBackingOff && !waits_for_timeout_ && now < give_up_at_) {
    enter(State::kWaiting);
    return start_attempt();
  }
  if (now < deadline()) return arm_timer();
  fail(timeout_error(now));
}

UpstreamError Completion::timeout_error(Clock::time_point now) const {
  const std::string& request_id = parser_->answer().request_id;
  if (now >= give_up_at_)
    return {UpstreamFault::kTimeout, "timeout", "the answer took too long", request_id, false};
  const char* const words = "the upstream fell silent";
  if (state_ == State::kWaiting)
    return of_target({UpstreamFault::kTimeout, "first_token_timeout", words, request_id, false});
  return {UpstreamFault::kTimeout, "idle_timeout", words, request_id, false};
}

void Completion::fail(UpstreamError error) {
  transfer_.reset();
  note_failure(error);
  if (fail_over(error, false)) return;
  if (may_retry(error)) return back_off(error);
  if (fail_over(error, true)) return;
  error.retryable = error.retryable && !may_be_billed_;
  end();
  handler_.on_failed(error);
}

void Completion::note_failure(const UpstreamError& error) noexcept {
  if (body_ && error.cool_down != CoolDown::kNone)
    client_->health().note_failure(error.cool_down, error.retry_after, Clock::now());
  probe_.reset();
}

// Asks another target, from the next iteration of the loop on. False when none can be asked.
bool Completion::fail_over(const UpstreamError& error, bool to_resting) {
  const auto now = Clock::now();
  if (!body_ || error.cool_down == CoolDown::kNone || now >= give_up_at_) return false;
  auto choice =
      to_resting ? targets_.choose_resting(asked_, now) : targets_.choose(asked_, std::nullopt, now);
  if (!choice) return false;
  enter(State::kBackingOff);
  const Target& from = *target();
  take(choice->index, std::move(choice->probe));
  if (body_without_session_) {
    body_ = std::exchange(body_without_session_, nullptr);
    has_lost_session_ = true;
  }
  may_be_billed_ = may_be_billed_ || !error.retryable;
  waits_for_timeout_ = false;
  timer_.start(Clock::duration::zero());
  handler_.on_failover(error, from);
  return true;
}

bool Completion::may_retry(const UpstreamError& error) const {
  return error.retryable && retries_ < targets_.config_.upstream_retries && error.retry_after <= kLongestWait;
}

// Doubled each time, and jittered so that many visitors do not come back together.
void Completion::back_off(const UpstreamError& error) {
  assert(body_);
  enter(State::kBackingOff);
  std::uniform_real_distribution<double> jitter(0.5, 1.5);
  const auto delay = to_duration(kFirstBackOff * std::exp2(retries_++) * jitter(targets_.jitter_));
  const auto wait = std::max<Clock::duration>(delay, error.retry_after);
  // The loop's timers may be a little early: at TIMEOUT, the clock alone cannot tell the two apart.
  const auto left = give_up_at_ - Clock::now();
  waits_for_timeout_ = wait >= left;
  timer_.start(std::min(wait, left));
  handler_.on_retry(error);
}

void Completion::finish() {
  end();
  handler_.on_finished(parser_->answer());
}

void Completion::end() noexcept {
  enter(State::kEnded);
  timer_.cancel();
}

// The rest after the end of the answer does not matter, but the connection can be used again.
void Completion::leave_transfer() noexcept {
  if (!transfer_) return;
  if (parser_->state() == AnswerParser::State::kFinished) {
    Transfer::drain(std::move(transfer_));
  } else {
    transfer_.reset();
  }
}

}  // namespace bailian
