#include "chat/shared_answers.h"

#include <utility>

#include "base/exchange.h"

namespace bailian {

FlightDuty::~FlightDuty() {
  if (!recording_ || recording_->state() != AnswerRecording::State::kUnderWay) return;
  recording_->break_off();
  update();
}

void FlightDuty::update() noexcept { owner_->update(*this); }

Admission SharedAnswers::admit(Request request, const Config& config, EventLoop& loop,
                               Clock::time_point now) {
  const bool has_key = !request.idempotency_id.empty();
  const bool is_cacheable = request.cache_key.has_value();
  Admission admission;
  if (!has_key && !is_cacheable) return admission;
  const std::lock_guard lock(mutex_);
  if (has_key) {
    const auto known = keys_.find(request.idempotency_id, request.fingerprint, now);
    if (known.is_other_question)
      throw HttpError(422, "idempotency_mismatch", "Idempotency-Key was used for another question");
    admission.subscription = AnswerRecording::Subscription(known.recorded);
    if (admission.subscription) {
      admission.role = ReaderRole::kSameVisitor;
      admission.idempotent = admission.is_complete() ? "replayed" : "joined";
      return admission;
    }
  }
  if (is_cacheable && !request.is_fresh) {
    admission.subscription = AnswerRecording::Subscription(
        cache_.find(*request.cache_key, to_duration(config.answer_cache_ttl), now));
    if (admission.subscription) {
      admission.role = ReaderRole::kOther;
      admission.cache = admission.is_complete() ? "hit" : "joined";
      if (has_key) keys_.note(request.idempotency_id, request.fingerprint, {}, now);
      return admission;
    }
  }
  const Recorded begun = start_recording(loop);
  admission.subscription = AnswerRecording::Subscription(begun);
  try {
    if (is_cacheable) cache_.begin(*request.cache_key, begun, config.answer_cache_bytes);
    if (has_key) keys_.note(request.idempotency_id, request.fingerprint, begun, now);
  } catch (...) {
    begun.recording->break_off();  // an entry may have it already
    throw;
  }
  if (is_cacheable) admission.cache = "miss";
  admission.duty =
      FlightDuty(*this, begun.recording, std::move(request.cache_key), std::move(request.idempotency_id));
  return admission;
}

void SharedAnswers::retain(const Config& config) {
  const std::lock_guard lock(mutex_);
  cache_.retain(config);
}

void SharedAnswers::update(const FlightDuty& duty) noexcept {
  const std::lock_guard lock(mutex_);
  if (duty.cache_key_) cache_.update(*duty.cache_key_);
  if (!duty.idempotency_id_.empty()) keys_.update(duty.idempotency_id_, *duty.recording_);
}

}  // namespace bailian
