#include "chat/chat.h"

#include <cassert>

#include "base/key_mask.h"
#include "dashscope/error_codes.h"

namespace bailian {
namespace {

Outcome outcome_of(const UpstreamError& error) {
  return error.fault == UpstreamFault::kTimeout ? Outcome::kTimeout : Outcome::kError;
}

}  // namespace

Chat::Chat(EventLoop& loop, LoopBoard& board, std::shared_ptr<ConfigSnapshot> setup,
           StreamLimit::Permit place, ClientStream& client, std::string request_id, const Question& request,
           AnswerMode mode, Headers headers, FailureNote note)
    : setup_(std::move(setup)),
      config_(setup_->config),
      place_(std::move(place)),
      client_(client),
      request_id_(std::move(request_id)),
      mode_(mode),
      include_thoughts_(request.include_thoughts),
      headers_(std::move(headers)),
      failure_note_(note),
      live_(board, request_id_, mode, Clock::now()),
      last_write_(Clock::now()),
      heartbeat_(loop, bind<&Chat::on_silence>(this), bind<&Chat::on_exception>(this)),
      completion_(setup_->upstream.ask(request, mode, *this)) {
  if (mode_ == AnswerMode::kStream && config_.heartbeat > Seconds::zero()) on_silence();
}

void Chat::open_stream() {
  assert(state_ == State::kWaiting && mode_ == AnswerMode::kStream);
  state_ = State::kStreaming;
  headers_.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
  headers_.emplace_back("Cache-Control", "no-cache, no-transform");
  headers_.emplace_back("X-Accel-Buffering", "no");
  client_.begin({200, std::move(headers_), {}});
}

void Chat::on_text(std::string_view text) {
  if (!first_token_) first_token_ = Clock::now();
  note_piece();
  if (mode_ == AnswerMode::kJson) {
    text_ += text;
    return;
  }
  if (state_ == State::kWaiting) open_stream();
  write_text_events(text, completion_->answer().session_id, [this](std::string_view event) { write(event); });
  pause_if_behind();
}

void Chat::on_thought(std::string_view thought) {
  if (!include_thoughts_) return;
  note_piece();
  if (mode_ == AnswerMode::kJson) {
    thought_ += thought;
    return;
  }
  if (state_ == State::kWaiting) open_stream();
  write_thought_events(thought, completion_->answer().session_id,
                       [this](std::string_view event) { write(event); });
  pause_if_behind();
}

void Chat::note_piece() {
  const Answer& answer = completion_->answer();
  ++pieces_;
  live_.set_tokens(answer.has_usage ? answer.usage.output_tokens : pieces_);
  if (live_.state() != ChatState::kWaiting) return;
  live_.set_state(ChatState::kStreaming);
  live_.set_first_token(Clock::now());
}

void Chat::pause_if_behind() {
  live_.set_bytes(client_.sent_bytes(), client_.unsent_bytes());
  // The rest is room for what libcurl still holds and for an event that is longer than most.
  if (client_.unsent_bytes() <= config_.client_buffer_bytes / 4) return;
  live_.set_state(ChatState::kPaused);
  if (completion_->pause()) setup_->metrics.count_pause();
}

void Chat::on_sent() { live_.set_bytes(client_.sent_bytes(), client_.unsent_bytes()); }

void Chat::on_flushed() {
  if (state_ == State::kFinished) return;
  if (live_.state() == ChatState::kPaused) live_.set_state(ChatState::kStreaming);
  completion_->resume();
}

void Chat::on_finished(const Answer& answer) {
  place_.give_back();  // a slow browser must not keep the next visitor out
  is_complete_ = true;
  live_.set_state(ChatState::kFinishing);
  if (mode_ == AnswerMode::kJson) {
    assert(state_ == State::kWaiting);
    state_ = State::kFinished;
    headers_.emplace_back("Content-Type", "application/json");
    headers_.emplace_back("Cache-Control", "no-store");
    return client_.send(
        {200, std::move(headers_),
         answer_json(std::exchange(text_, {}), std::exchange(thought_, {}), answer, request_id_)});
  }
  if (state_ == State::kWaiting) open_stream();
  finish(finished_event(answer, request_id_));
}

void Chat::on_retry(const UpstreamError& error) {
  setup_->metrics.count_upstream_error(error_label(error.code), bailian::describe(error.fault).label);
  setup_->metrics.count_retry();
  ++retries_;
}

void Chat::on_failed(const UpstreamError& error) {
  setup_->metrics.count_upstream_error(error_label(error.code), bailian::describe(error.fault).label);
  fail(error);
}

void Chat::fail(const UpstreamError& error) {
  place_.give_back();
  live_.set_state(ChatState::kFinishing);
  failure_ = {outcome_of(error), scrub(error.code, config_.api_key), scrub(error.message, config_.api_key)};
  const HttpError shown = to_http_error(error, config_.debug, config_.api_key);
  // What cost nothing may be asked for again.
  if (mode_ == AnswerMode::kStream && !error.retryable)
    failure_note_.streams.remember(failure_note_.question, {shown, failure_->code}, Clock::now());
  if (state_ == State::kStreaming) return finish(failed_event(shown, request_id_));
  state_ = State::kFinished;
  client_.send(error_reply(shown, request_id_, std::move(headers_)));
}

void Chat::on_exception(const std::exception&) noexcept {
  state_ = State::kFinished;
  client_.abort();
}

void Chat::on_shutdown() {
  if (state_ == State::kFinished) return;
  fail({UpstreamFault::kFailed, "shutdown", "the program is stopping", completion_->answer().request_id,
        false});
  answer_ = completion_->answer();
  completion_.reset();
}

// Proxies cut connections that stay silent for a minute or so. The timer is not moved for every token: it
// looks how long the last one is ago.
void Chat::on_silence() {
  if (state_ == State::kFinished) return;
  const auto due = last_write_ + to_duration(config_.heartbeat);
  const auto now = Clock::now();
  if (now < due) return heartbeat_.start(due - now);
  const bool browser_keeps_up = client_.unsent_bytes() == 0;
  if (state_ == State::kWaiting) open_stream();
  if (browser_keeps_up) write(kKeepAliveComment);
  last_write_ = now;
  heartbeat_.start(to_duration(config_.heartbeat));
}

void Chat::write(std::string_view event) {
  last_write_ = Clock::now();
  client_.write(event);
}

void Chat::finish(std::string_view last_event) {
  assert(state_ == State::kStreaming);
  state_ = State::kFinished;
  client_.write(last_event);
  client_.finish();
}

void Chat::describe(AccessRecord& record) const {
  const Answer& answer = completion_ ? completion_->answer() : answer_;
  record.resource = mode_ == AnswerMode::kStream ? Endpoint::kChatStream : Endpoint::kChat;
  record.is_chat = true;
  record.is_complete = is_complete_;
  record.first_token = first_token_;
  if (first_token_ || answer.has_usage) record.usage = answer.usage;
  record.retries = retries_;
  record.slow_answer = config_.slow_answer;
  // A whole answer has no first token.
  if (mode_ == AnswerMode::kStream) record.slow_first_token = config_.slow_first_token;
  if (failure_) {
    record.outcome = failure_->outcome;
    record.upstream_code = failure_->code;
    record.detail = failure_->detail;
  }
  record.model = scrub(answer.model, config_.api_key);
  record.upstream_request_id = scrub(answer.request_id, config_.api_key);
}

}  // namespace bailian
