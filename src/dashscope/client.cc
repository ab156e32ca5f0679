#include "dashscope/client.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace bailian {
namespace {

constexpr Seconds kFirstBackOff{0.25};
// If the upstream asks for a longer pause, the visitor gets an error with that time in it.
constexpr std::chrono::seconds kLongestWait{10};
constexpr std::chrono::seconds kLongestRetryAfter{120};

std::chrono::milliseconds connect_timeout(const Config& config) {
  return std::chrono::ceil<std::chrono::milliseconds>(config.connect_timeout);
}

std::string completion_url(const Config& config) {
  return config.targets.front().base_url + "/apps/" + percent_encode(config.targets.front().app_id) +
         "/completion";
}

std::vector<std::string> request_headers(const Config& config, AnswerMode mode) {
  std::vector<std::string> headers = {"Authorization: Bearer " + config.targets.front().api_key,
                                      "Content-Type: application/json", "Expect:"};
  if (mode == AnswerMode::kStream) {
    // The documentation requires either; both SDKs send both, because some models need the second.
    headers.insert(headers.end(), {"Accept: text/event-stream", "X-DashScope-SSE: enable"});
  } else {
    headers.emplace_back("Accept: application/json");
  }
  if (!config.targets.front().workspace.empty())
    headers.push_back("X-DashScope-WorkSpace: " + config.targets.front().workspace);
  if (config.is_moderated)
    headers.emplace_back(R"(X-DashScope-DataInspection: {"input":"cip","output":"cip"})");
  return headers;
}

UpstreamError transfer_error(const TransferResult& result) {
  switch (result.fault) {
    case TransferFault::kConnectTimeout:
      return {UpstreamFault::kTimeout, "connect_timeout", result.detail, {}, true};
    case TransferFault::kConnect:
      return {UpstreamFault::kConnect, "connect_failed", result.detail, {}, true};
    case TransferFault::kUntrusted:
      return {UpstreamFault::kConnect, "tls_failed", result.detail, {}, false};
    default:
      return {UpstreamFault::kConnect, "connection_broken", result.detail, {}, false};
  }
}

}  // namespace

Completion::Completion(DashScopeClient& client, const Question& question, AnswerMode mode,
                       AnswerHandler& handler)
    : client_(client),
      handler_(handler),
      mode_(mode),
      body_(std::make_shared<const std::string>(completion_body(question, client.config_, mode))),
      drain_later_(client.loop_, bind<&Completion::drain_transfer>(this)),
      timer_(client.loop_, bind<&Completion::on_timer>(this), bind<&Completion::on_exception>(this)),
      give_up_at_(Clock::now() + to_duration(client.config_.timeout)) {
  start_attempt();
}

Completion::~Completion() {
  if (parser_->state() == AnswerParser::State::kFinished) drain_transfer();
}

void Completion::enter(State next) {
  assert(client_.loop_.in_loop_thread());
  assert(state_ != State::kEnded && state_ != next);
  assert(next != State::kWaiting || state_ == State::kBackingOff);
  assert(next != State::kAnswering || state_ == State::kWaiting || state_ == State::kPaused);
  assert(next != State::kPaused || state_ == State::kAnswering);
  state_ = next;
}

void Completion::start_attempt() {
  assert(state_ == State::kWaiting && !transfer_);
  attempt_started_ = Clock::now();
  parser_ = std::make_unique<AnswerParser>(client_.config_.targets.front().api_key);
  const RequestTemplate& endpoint =
      mode_ == AnswerMode::kStream ? client_.stream_endpoint_ : client_.json_endpoint_;
  transfer_ = client_.http_.post(endpoint, body_, connect_timeout(client_.config_), *this);
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

void Completion::cancel() noexcept {
  if (state_ != State::kEnded) end();
}

bool Completion::on_data(const ResponseHead& head, std::string_view bytes) {
  client_.received_ += bytes.size();
  if (state_ == State::kEnded) return parser_->state() == AnswerParser::State::kFinished;
  last_bytes_ = Clock::now();
  handler_.on_bytes(last_bytes_);
  parser_->expect(head.content_type);
  parser_->feed(head.status, bytes);
  deliver_pieces();
  if (parser_->state() == AnswerParser::State::kFinished) {
    drain_later_.schedule();  // the visitor need not wait for the end of the response
    finish();
  }
  return parser_->state() != AnswerParser::State::kFailed;
}

void Completion::on_done(const TransferResult& result) {
  if (state_ == State::kEnded) return;
  if (result.fault == TransferFault::kNone) {
    parser_->finish(result.head.status);
    deliver_pieces();
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
}

void Completion::note_progress() {
  if (parser_->is_billed()) body_.reset();
  // A JSON answer starts with its first byte, a stream with its first event.
  if (state_ != State::kWaiting || (mode_ == AnswerMode::kStream && !parser_->has_begun())) return;
  enter(State::kAnswering);
  arm_timer();
}

// A JSON answer has no first token, and a paused one is not idle.
Clock::time_point Completion::deadline() const {
  const Config& config = client_.config_;
  if (state_ == State::kAnswering)
    return std::min(give_up_at_, last_bytes_ + to_duration(config.idle_timeout));
  if (state_ == State::kWaiting && mode_ == AnswerMode::kStream)
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
  const char* code = state_ == State::kWaiting ? "first_token_timeout" : "idle_timeout";
  return {UpstreamFault::kTimeout, code, "the upstream fell silent", request_id, false};
}

void Completion::fail(const UpstreamError& error) {
  transfer_.reset();
  if (may_retry(error)) return back_off(error);
  end();
  handler_.on_failed(error);
}

bool Completion::may_retry(const UpstreamError& error) const {
  return error.retryable && retries_ < client_.config_.upstream_retries && error.retry_after <= kLongestWait;
}

// Doubled each time, and jittered so that many visitors do not come back together.
void Completion::back_off(const UpstreamError& error) {
  assert(body_);
  enter(State::kBackingOff);
  std::uniform_real_distribution<double> jitter(0.5, 1.5);
  const auto delay = to_duration(kFirstBackOff * std::exp2(retries_++) * jitter(client_.jitter_));
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
void Completion::drain_transfer() noexcept {
  if (transfer_) Transfer::drain(std::move(transfer_));
}

DashScopeClient::DashScopeClient(EventLoop& loop, const Config& config, Tally& received)
    : loop_(loop),
      config_(config),
      received_(received),
      stream_endpoint_(completion_url(config), request_headers(config, AnswerMode::kStream)),
      json_endpoint_(completion_url(config), request_headers(config, AnswerMode::kJson)),
      http_(loop, config.targets.front().base_url),
      warm_up_(loop, http_, config.targets.front().base_url, connect_timeout(config)),
      jitter_(std::random_device{}()) {}

void DashScopeClient::expect_question(Metrics& metrics) noexcept {
  const Target& target = config_.targets.front();
  if (config_.warm_up && !target.api_key.empty() && !target.app_id.empty()) warm_up_.expect_question(metrics);
}

}  // namespace bailian
