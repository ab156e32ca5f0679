#include "chat/chat.h"

#include <cassert>
#include <utility>

#include "base/key_mask.h"
#include "base/log.h"
#include "chat/metered_answer.h"
#include "chat/upstream_events.h"
#include "dashscope/error_codes.h"

namespace bailian {
namespace {

bool may_follow(ChatPhase phase, ChatPhase next) {
  using enum ChatPhase;
  if (next == kFinished) return phase != kFinished;
  if (next == kStreaming) return phase == kOpen || phase == kPaused;
  if (next == kPaused) return phase == kStreaming;
  return phase == kWaiting && (next == kOpen || next == kCollecting);
}

}  // namespace

Chat::Chat(EventLoop& loop, LoopBoard& board, ServiceState& state, ClientStream& client,
           const Question& question, AdmittedChat chat)
    : state_(state),
      client_(client),
      chat_(std::move(chat)),
      config_(chat_.bot.config),
      mode_(question.mode),
      include_thoughts_(question.include_thoughts),
      is_shared_(chat_.admission.subscription),
      last_write_(Clock::now()),
      live_(board, chat_.request_id, chat_.bot.name, mode_, Clock::now()),
      heartbeat_(loop, bind<&Chat::on_heartbeat>(this), bind<&Chat::on_exception>(this)) {
  source_ = make_source(loop, question);
  if (mode_ == AnswerMode::kStream && config_.heartbeat > Seconds::zero())
    heartbeat_.start(to_duration(config_.heartbeat));
}

// A shared answer is a stream, whatever the one who asks first wants.
std::unique_ptr<AnswerSource> Chat::make_source(EventLoop& loop, const Question& question) {
  const std::string idempotency_id = chat_.admission.duty.idempotency_id();
  const Flight::Ask ask = [&](AnswerHandler& handler) -> std::unique_ptr<AnswerSource> {
    if (state_.ledger == nullptr)
      return chat_.bot.upstream.ask(question, is_shared_ ? AnswerMode::kStream : mode_, handler);
    return std::make_unique<MeteredAnswer>(loop, chat_.pauses, *state_.ledger, chat_.bot, question,
                                           chat_.visitor, idempotency_id, handler);
  };
  AnswerHandler& self = *this;
  if (!is_shared_) return ask(self);
  Admission& admission = chat_.admission;
  auto reader =
      std::make_unique<AnswerReader>(loop, std::move(admission.subscription), admission.role, config_, self);
  if (admission.duty) {
    chat_.flights.start(loop, state_, chat_.snapshot, chat_.bot, chat_.request_id, std::move(admission.duty),
                        *reader, ask);
  }
  return reader;
}

void Chat::enter(ChatPhase next) {
  assert(may_follow(phase_, next));
  phase_ = next;
  live_.set_phase(next);
  if (next == ChatPhase::kFinished) heartbeat_.cancel();
}

// --- the upstream ---

void Chat::on_text(std::string_view text) {
  if (!first_token_) first_token_ = Clock::now();
  const Answer& answer = source_->answer();
  chat_.writer->text(text, answer);
  send_piece(answer);
}

void Chat::on_thought(std::string_view thought) {
  if (!include_thoughts_) return;
  const Answer& answer = source_->answer();
  chat_.writer->thought(thought, answer);
  send_piece(answer);
}

void Chat::on_request(const Target& target) noexcept {
  state_.metrics.count_upstream_request(chat_.bot.name, target.number);
  note_lost_session();
}

void Chat::on_finished(const Answer& answer) {
  chat_.permit.reset();  // a slow browser must not keep the next visitor out
  is_complete_ = true;
  std::string last = chat_.writer->finish(answer);
  if (mode_ == AnswerMode::kStream) {
    if (phase_ == ChatPhase::kWaiting) open_stream();
    return finish_stream(last);
  }
  finish_whole(std::move(last));
}

void Chat::on_retry(const UpstreamError& error) {
  note_retry(state_.metrics, chat_.bot.name, error, *target());
  ++retries_;
}

void Chat::on_failover(const UpstreamError& error, const Target& from) {
  note_failover(state_.metrics, chat_.request_id, chat_.bot.name, error, from, *target());
  note_lost_session();
}

// Without memory, the line is counted as lost.
void Chat::note_lost_session() noexcept try {
  if (!source_->has_lost_session() || std::exchange(is_lost_session_noted_, true)) return;
  log(LogLevel::kWarning, "session_lost", "the chat goes on without its earlier questions",
      {{"request_id", chat_.request_id}, {"bot", chat_.bot.name}, {"target", double(target()->number)}});
} catch (const std::exception&) {
  count_lost_line();
}

void Chat::on_failed(const UpstreamError& error) {
  if (!is_shared_) count_upstream_error(state_.metrics, chat_.bot.name, error, *target());
  fail(error);
}

// A whole answer ends with the text that there is.
void Chat::on_refused(const HttpError& error) {
  failure_ = {Outcome::kError, std::string(error.code()), {}};
  if (mode_ == AnswerMode::kStream || !first_token_) return end(error, error.forbids_retry());
  chat_.permit.reset();
  finish_whole(chat_.writer->cut(source_->answer(), error));
}

void Chat::on_exception(const std::exception&) noexcept {
  if (source_) source_->cancel();  // events of this iteration may still call it
  if (phase_ != ChatPhase::kFinished) enter(ChatPhase::kFinished);
  client_.abort();
}

// --- the browser ---

void Chat::open_stream() {
  assert(mode_ == AnswerMode::kStream);
  enter(ChatPhase::kOpen);
  chat_.writer->begin(chat_.headers);
  client_.begin({200, std::move(chat_.headers), {}});
}

void Chat::start_pieces() {
  live_.set_first_token(Clock::now());
  if (mode_ == AnswerMode::kJson) return enter(ChatPhase::kCollecting);
  if (phase_ == ChatPhase::kWaiting) open_stream();
  enter(ChatPhase::kStreaming);
}

void Chat::send_piece(const Answer& answer) {
  assert(phase_ != ChatPhase::kFinished);
  if (++pieces_ == 1) start_pieces();
  live_.set_tokens(answer.has_usage ? answer.usage.output_tokens : pieces_);
  while (const auto event = chat_.writer->next_event()) {
    client_.write(*event);
    last_write_ = Clock::now();
  }
  if (mode_ == AnswerMode::kStream) pause_if_behind();
}

void Chat::pause_if_behind() {
  live_.set_bytes(client_.sent_bytes(), client_.unsent_bytes());
  // The other three quarters are for what libcurl still holds, and for a long event.
  if (phase_ == ChatPhase::kPaused || client_.unsent_bytes() <= config_.client_buffer_bytes / 4) return;
  enter(ChatPhase::kPaused);
  if (source_->pause()) state_.metrics.count_pause();
}

void Chat::on_sent() { live_.set_bytes(client_.sent_bytes(), client_.unsent_bytes()); }

void Chat::on_flushed() {
  if (phase_ != ChatPhase::kPaused) return;
  enter(ChatPhase::kStreaming);
  source_->resume();
}

// Proxies cut connections that are silent for a minute or so. The timer is not restarted for every token:
// when it fires, it looks at the time of the last one.
void Chat::on_heartbeat() {
  const auto due = last_write_ + to_duration(config_.heartbeat);
  const auto now = Clock::now();
  if (now < due) return heartbeat_.start(due - now);
  const bool browser_keeps_up = client_.unsent_bytes() == 0;
  if (phase_ == ChatPhase::kWaiting) open_stream();
  if (browser_keeps_up) client_.write(chat_.writer->heartbeat());
  last_write_ = now;
  heartbeat_.start(to_duration(config_.heartbeat));
}

void Chat::finish_stream(std::string_view last_event) {
  assert(mode_ == AnswerMode::kStream && phase_ != ChatPhase::kWaiting);
  enter(ChatPhase::kFinished);
  client_.write(last_event);
  client_.finish();
}

void Chat::finish_whole(std::string body) {
  assert(mode_ == AnswerMode::kJson);
  chat_.writer->begin(chat_.headers);
  enter(ChatPhase::kFinished);
  client_.send({200, std::move(chat_.headers), std::move(body)});
}

void Chat::fail(const UpstreamError& error) {
  const std::string_view key = api_key();
  failure_ = {error.fault == UpstreamFault::kTimeout ? Outcome::kTimeout : Outcome::kError,
              scrub(error.code, key), scrub(error.message, key)};
  // After a failure that certainly cost nothing, the question may be asked again.
  end(to_http_error(error, config_.debug, key), !error.retryable);
}

// `is_final`: an old front end that falls back to a whole answer gets the same error.
void Chat::end(const HttpError& error, bool is_final) {
  chat_.permit.reset();
  if (mode_ == AnswerMode::kStream && is_final)
    state_.failed_streams.remember(chat_.key, {error, failure_->code}, Clock::now());
  if (mode_ == AnswerMode::kStream && phase_ != ChatPhase::kWaiting)
    return finish_stream(chat_.writer->fail(error));
  const Reply reply = chat_.dialect.refuse(error, chat_.request_id, std::move(chat_.headers));
  enter(ChatPhase::kFinished);
  client_.send(reply);
}

void Chat::on_shutdown() {
  if (phase_ == ChatPhase::kFinished) return;
  fail({UpstreamFault::kFailed, "shutdown", "the program is stopping", source_->answer().request_id, false});
  answer_ = source_->answer();
  target_ = source_->target();
  source_->cancel();  // the visitor has not left
  source_.reset();
}

void Chat::describe(AccessRecord& record) const {
  const Answer& answer = source_ ? source_->answer() : answer_;
  record.endpoint = chat_.endpoint;
  record.bot = chat_.bot.name;
  record.is_chat = target() != nullptr;
  record.is_complete = is_complete_;
  record.first_token = first_token_;
  // Only the one who asks has used something.
  if (first_token_ || answer.has_usage)
    record.usage = chat_.admission.role == ReaderRole::kAsker ? answer.usage : Usage();
  record.counts_usage = !is_shared_;
  record.cache = chat_.admission.cache;
  record.idempotent = chat_.admission.idempotent;
  record.retries = retries_;
  if (config_.targets.size() > 1 && target() != nullptr) record.target = target()->number;
  record.slow_answer = config_.slow_answer;
  // A whole answer has no first token.
  if (mode_ == AnswerMode::kStream) record.slow_first_token = config_.slow_first_token;
  if (failure_) {
    record.outcome = failure_->outcome;
    record.upstream_code = failure_->code;
    record.detail = failure_->detail;
  }
  record.model = scrub(answer.model, api_key());
  record.upstream_request_id = scrub(answer.request_id, api_key());
}

}  // namespace bailian
