#include "chat/metered_answer.h"

#include <cassert>
#include <utility>
#include <variant>

#include "chat/refusal.h"

namespace bailian {
namespace {

size_t sent_bytes(const Question& question, const Config& config) {
  size_t bytes = config.system_prompt.size() + config.biz_params_json.size() + question.prompt.size() +
                 question.biz_params_json.size();
  for (const Message& message : question.history) bytes += message.content.size();
  return bytes;
}

}  // namespace

MeteredAnswer::MeteredAnswer(EventLoop& loop, PauseWatch& pauses, Ledger& ledger, Bot& bot,
                             const Question& question, std::string_view visitor,
                             std::string_view idempotency_id, AnswerHandler& handler)
    : handler_(handler),
      ledger_(ledger),
      bot_(bot),
      started_(Clock::now()),
      watched_(pauses, bind<&MeteredAnswer::end_if_paused>(this)) {
  auto taken =
      ledger.take(loop, {bot.name, visitor, sent_bytes(question, bot.config), idempotency_id}, *this);
  if (const auto* const refusal = std::get_if<Refusal>(&taken)) {
    throw refuse(*refusal);
  }
  lease_ = std::move(std::get<std::unique_ptr<Lease>>(taken));
  if (!lease_->is_pending()) {
    ask(question);
    return;
  }
  question_ = std::make_unique<const Question>(question);
  timeout_.emplace(loop, bind<&MeteredAnswer::on_timeout>(this), bind<&MeteredAnswer::on_exception>(this));
  timeout_->start(to_duration(bot.config.timeout));
}

// What was used is counted even if the visitor leaves in the middle of a callback that has not settled it.
MeteredAnswer::~MeteredAnswer() {
  if (has_ended_ || !completion_) return;
  static_cast<void>(settle());
  if (is_asked_) lease_->abandon();
}

void MeteredAnswer::ask(const Question& question) {
  completion_ = bot_.upstream.ask(question, AnswerMode::kStream, *this, started_);
}

void MeteredAnswer::resume() {
  if (completion_) completion_->resume();
}

// Keeps the lease, which may be what calls.
void MeteredAnswer::cancel() noexcept {
  if (std::exchange(has_ended_, true) || !completion_) return;
  completion_->cancel();
  static_cast<void>(settle());
}

const Target* MeteredAnswer::target() const { return completion_ ? completion_->target() : nullptr; }

bool MeteredAnswer::has_lost_session() const { return completion_ && completion_->has_lost_session(); }

const Answer& MeteredAnswer::answer() const {
  static const Answer kNone;
  return completion_ ? completion_->answer() : kNone;
}

// --- the lease ---

HttpError MeteredAnswer::refuse(const Refusal& refusal) {
  HttpError error = to_http_error(refusal);
  if (refusal.cause == Refusal::Cause::kUnderWay) return error;  // no cap refuses it
  ledger_.count_refused(bot_.name, refusal.cause);
  bot_.metrics.count_refusal(bot_.name, error.code());
  return error;
}

void MeteredAnswer::on_leased() {
  if (has_ended_) return;
  assert(question_ && !completion_);
  timeout_.reset();
  try {
    ask(*std::exchange(question_, nullptr));
  } catch (const std::exception& error) {  // the ledger could end none but itself
    on_exception(error);
  }
}

void MeteredAnswer::on_lease_refused(const Refusal& refusal) {
  if (std::exchange(has_ended_, true)) return;
  timeout_.reset();
  try {
    handler_.on_refused(refuse(refusal));
  } catch (const std::exception& error) {  // likewise
    handler_.on_exception(error);
  }
}

// The ledger has not answered.
void MeteredAnswer::on_timeout() {
  assert(lease_->is_pending() && !has_ended_);
  release();
  handler_.on_refused(refuse({Refusal::Cause::kUnknown}));
}

// Settles what has arrived, if that costs anything. False: the answer has to end.
bool MeteredAnswer::settle() noexcept {
  const Answer& answer = completion_->answer();
  if (answer.has_usage) return lease_->settle(answer.usage);
  return !is_billed_ || lease_->settle_estimate(answer_bytes_);
}

void MeteredAnswer::start_next_attempt() noexcept {
  static_cast<void>(settle());
  lease_->start_next_attempt();
  is_billed_ = false;
  answer_bytes_ = 0;
}

// A frame would end it too, but the upstream may be silent, or the visitor slow.
void MeteredAnswer::end_if_paused() noexcept {
  if (has_ended_ || !completion_ || !lease_->is_paused()) return;
  try {
    cut();
  } catch (const std::exception& error) {
    on_exception(error);
  }
}

void MeteredAnswer::cut() {
  const HttpError error = to_http_error(lease_->refusal());
  completion_->cancel();
  release();
  handler_.on_refused(error);
}

// The rest of the lease is for others, however slowly the visitor reads.
void MeteredAnswer::release() noexcept {
  has_ended_ = true;
  lease_.reset();
}

// --- the upstream ---

void MeteredAnswer::on_text(std::string_view text) {
  answer_bytes_ += text.size();
  handler_.on_text(text);
}

void MeteredAnswer::on_thought(std::string_view thought) {
  answer_bytes_ += thought.size();
  handler_.on_thought(thought);
}

void MeteredAnswer::on_request(const Target& target) noexcept {
  is_asked_ = true;
  handler_.on_request(target);
}

// settle() follows. The lease is rarely in the processor's cache by now: it gets there while the bytes are
// parsed.
void MeteredAnswer::on_bytes(Clock::time_point now) {
  const auto* const lease = reinterpret_cast<const char*>(lease_.get());
  __builtin_prefetch(lease);
  __builtin_prefetch(lease + 64);
  handler_.on_bytes(now);
}

void MeteredAnswer::on_billed() {
  is_billed_ = true;
  if (settle()) return handler_.on_billed();
  cut();
}

void MeteredAnswer::on_finished(const Answer& answer) {
  is_billed_ = true;
  static_cast<void>(settle());  // a complete answer is taken whatever it has cost
  lease_->finish();
  release();
  handler_.on_finished(answer);
}

void MeteredAnswer::on_retry(const UpstreamError& error) {
  start_next_attempt();
  handler_.on_retry(error);
}

void MeteredAnswer::on_failover(const UpstreamError& error, const Target& from) {
  start_next_attempt();
  handler_.on_failover(error, from);
}

void MeteredAnswer::on_failed(const UpstreamError& error) {
  static_cast<void>(settle());
  release();
  handler_.on_failed(error);
}

void MeteredAnswer::on_exception(const std::exception& error) noexcept {
  cancel();
  handler_.on_exception(error);
}

}  // namespace bailian
