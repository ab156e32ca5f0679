#include "dashscope/client.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace bailian {
namespace {

constexpr Seconds kFirstBackOff{0.25};
// A visitor is not kept waiting for longer than this when the upstream names a time: he is told it.
constexpr std::chrono::seconds kLongestWait{10};
constexpr std::chrono::seconds kLongestRetryAfter{120};

std::string completion_url(const Config& config) {
  return config.base_url + "/apps/" + percent_encode(config.app_id) + "/completion";
}

std::vector<std::string> request_headers(const Config& config, AnswerMode mode) {
  std::vector<std::string> headers = {"Authorization: Bearer " + config.api_key,
                                      "Content-Type: application/json", "Expect:"};
  if (mode == AnswerMode::kStream) {
    // Either would do by the documentation; both SDKs send both, as some models look at the second.
    headers.insert(headers.end(), {"Accept: text/event-stream", "X-DashScope-SSE: enable"});
  } else {
    headers.emplace_back("Accept: application/json");
  }
  if (!config.workspace.empty()) headers.push_back("X-DashScope-WorkSpace: " + config.workspace);
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

Completion::Completion(DashScopeClient& client, const Question& chat, AnswerMode mode, AnswerHandler& handler)
    : client_(client),
      handler_(handler),
      mode_(mode),
      body_(std::make_shared<const std::string>(completion_body(chat, client.config_, mode))),
      let_go_(client.loop_, bind<&Completion::let_go>(this)),
      timer_(client.loop_, bind<&Completion::on_timer>(this), bind<&Completion::on_exception>(this)),
      started_(Clock::now()),
      tries_left_(client.config_.upstream_retries) {
  start_try();
}

Completion::~Completion() {
  if (parser_->state() == AnswerParser::State::kFinished) let_go();
}

// What follows the end of an answer is of no use, but its connection is.
void Completion::let_go() noexcept {
  if (transfer_) Transfer::drain(std::move(transfer_));
}

int Completion::retries() const { return client_.config_.upstream_retries - tries_left_; }

void Completion::start_try() {
  waiting_to_retry_ = false;
  begun_ = false;
  try_started_ = last_bytes_ = Clock::now();
  parser_ = std::make_unique<AnswerParser>(client_.config_.api_key);
  const RequestTemplate& endpoint =
      mode_ == AnswerMode::kStream ? client_.stream_endpoint_ : client_.json_endpoint_;
  const auto connect_timeout = std::chrono::ceil<std::chrono::milliseconds>(client_.config_.connect_timeout);
  transfer_ = client_.http_.post(endpoint, body_, connect_timeout, *this);
  arm_timer();
}

bool Completion::pause(bool paused) {
  if (paused_ == paused || ended_) return false;
  paused_ = paused;
  last_bytes_ = Clock::now();
  if (transfer_) paused ? transfer_->pause() : transfer_->resume();
  if (!paused_ && !ended_ && !waiting_to_retry_) arm_timer();
  return true;
}

// What throws in the handler or here, for want of memory, is the end of this answer.
template <typename Call>
bool Completion::guarded(Call call) noexcept {
  try {
    call();
    return true;
  } catch (const std::exception& error) {
    on_exception(error);
    return false;
  }
}

void Completion::on_exception(const std::exception&) noexcept {
  ended_ = true;
  timer_.cancel();
  handler_.on_lost();
}

bool Completion::on_data(const ResponseHead& head, std::string_view bytes) noexcept {
  bool go_on = false;
  return guarded([&] { go_on = take_data(head, bytes); }) && go_on;
}

void Completion::on_done(const TransferResult& result) noexcept {
  guarded([&] { take_result(result); });
}

bool Completion::take_data(const ResponseHead& head, std::string_view bytes) {
  last_bytes_ = Clock::now();
  client_.received_ += bytes.size();
  handler_.on_bytes(last_bytes_);
  parser_->expect(head.content_type);
  parser_->feed(head.status, bytes);
  deliver_pieces();
  switch (parser_->state()) {
    case AnswerParser::State::kReading:
      if (parser_->is_billed()) body_.reset();
      // A JSON answer begins with its first byte, a stream with its first event.
      if (!begun_ && (mode_ == AnswerMode::kJson || parser_->has_begun())) {
        begun_ = true;
        arm_timer();
      }
      return true;
    case AnswerParser::State::kFailed:
      return false;
    case AnswerParser::State::kFinished:
      // The visitor need not wait for the end of the response.
      if (!std::exchange(ended_, true)) {
        timer_.cancel();
        let_go_.schedule();
        handler_.on_finished(parser_->answer());
      }
      return true;
  }
  return false;
}

void Completion::deliver_pieces() {
  while (const auto piece = parser_->next()) {
    if (piece->kind == AnswerPiece::Kind::kText) {
      handler_.on_text(piece->text);
    } else {
      handler_.on_thought(piece->text);
    }
  }
}

void Completion::take_result(const TransferResult& result) {
  if (ended_) return;
  if (result.fault == TransferFault::kNone) {
    parser_->finish(result.head.status);
    deliver_pieces();
  }
  switch (parser_->state()) {
    case AnswerParser::State::kFinished:
      ended_ = true;
      timer_.cancel();
      return handler_.on_finished(parser_->answer());
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

// Only what is being waited for counts: a JSON answer has no first token, and a paused stream no silence.
Clock::time_point Completion::deadline() const {
  const Config& config = client_.config_;
  Clock::time_point deadline = started_ + to_duration(config.timeout);
  if (paused_) return deadline;
  if (begun_) return std::min(deadline, last_bytes_ + to_duration(config.idle_timeout));
  if (mode_ == AnswerMode::kStream) {
    return std::min(deadline, try_started_ + to_duration(config.first_token_timeout));
  }
  return deadline;
}

// The timer is not moved for every token: when it fires, it looks how long the last one is ago.
void Completion::arm_timer() { timer_.start(deadline() - Clock::now()); }

void Completion::on_timer() {
  if (waiting_to_retry_ && Clock::now() < started_ + to_duration(client_.config_.timeout)) return try_again();
  if (Clock::now() < deadline()) return arm_timer();
  const bool all_used = Clock::now() >= started_ + to_duration(client_.config_.timeout);
  fail({UpstreamFault::kTimeout,
        all_used ? "timeout"
        : begun_ ? "idle_timeout"
                 : "first_token_timeout",
        all_used ? "the answer took too long" : "the upstream fell silent", parser_->answer().request_id,
        false});
}

void Completion::fail(const UpstreamError& error) {
  transfer_.reset();
  if (may_retry(error)) return retry_later(error);
  ended_ = true;
  timer_.cancel();
  handler_.on_failed(error);
}

bool Completion::may_retry(const UpstreamError& error) const {
  return error.retryable && tries_left_ > 0 && error.retry_after <= kLongestWait;
}

void Completion::try_again() {
  try {
    start_try();
  } catch (const std::exception& error) {
    fail({UpstreamFault::kFailed, "internal", error.what(), {}, false});
  }
}

// Doubling and jittered, so that many visitors do not come back together.
void Completion::retry_later(const UpstreamError& error) {
  assert(body_ && !paused_);  // nothing of an answer has come
  const int tries_done = retries();
  --tries_left_;
  waiting_to_retry_ = true;
  std::uniform_real_distribution<double> jitter(0.5, 1.5);
  const auto back_off = to_duration(kFirstBackOff * std::exp2(tries_done) * jitter(client_.jitter_));
  const auto wait = std::max<Clock::duration>(back_off, error.retry_after);
  const auto all_used = started_ + to_duration(client_.config_.timeout) - Clock::now();
  timer_.start(std::min(wait, all_used));
  handler_.on_retry(error);
}

DashScopeClient::DashScopeClient(EventLoop& loop, const Config& config, Tally& received)
    : loop_(loop),
      config_(config),
      received_(received),
      stream_endpoint_(completion_url(config), request_headers(config, AnswerMode::kStream)),
      json_endpoint_(completion_url(config), request_headers(config, AnswerMode::kJson)),
      http_(loop, config.base_url),
      jitter_(std::random_device{}()) {}

}  // namespace bailian
