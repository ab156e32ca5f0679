#include "chat/flight.h"

#include <cassert>
#include <utility>

#include "base/key_mask.h"
#include "chat/upstream_events.h"

namespace bailian {
namespace {

// A refusal at once is the asker's, and that of everyone who has joined meanwhile.
std::unique_ptr<AnswerSource> ask_for(FlightDuty& duty, AnswerReader& asker, const Flight::Ask& ask,
                                      AnswerHandler& handler) {
  try {
    return ask(handler);
  } catch (const HttpError& error) {
    asker.cancel();
    duty.recording().finish(AnswerRecording::State::kFailed, {{}, error, 0, Clock::now()});
    duty.recording().deliver();
    duty.update();
    throw;
  }
}

}  // namespace

Flight::Flight(EventLoop& loop, Flights& flights, ServiceState& state,
               std::shared_ptr<ConfigSnapshot> snapshot, const Bot& bot, std::string request_id,
               FlightDuty duty, AnswerReader& asker, const Ask& ask)
    : flights_(flights),
      state_(state),
      snapshot_(std::move(snapshot)),
      bot_(bot),
      request_id_(std::move(request_id)),
      duty_(std::move(duty)),
      asker_(nullptr),
      review_later_(loop, bind<&Flight::review>(this), bind<&Flight::on_exception>(this)),
      notifier_(loop, bind<&Flight::review>(this), bind<&Flight::on_exception>(this)),
      source_(ask_for(duty_, asker, ask, *this)) {
  asker_ = &asker;
  asker.follow(*this);
  recording().attach(*this);
  review_later_.schedule();  // chats of other loops may have joined already
}

// What an answer has cost is counted here, as the chat that asked may have left before.
Flight::~Flight() {
  recording().detach();
  if (asker_ != nullptr) asker_->unfollow();
  if (!has_ended_) {  // the loop ends
    recording().break_off();
    recording().deliver();
  }
  const Answer& answer = source_->answer();
  if (answer.has_usage) state_.metrics.count_tokens(bot_.name, answer.model, answer.usage, is_complete_);
}

// --- the upstream ---

// While the asker is there, its chat counts and logs the attempts.
void Flight::on_request(const Target& target) noexcept {
  if (AnswerHandler* const asker = asker_handler()) return asker->on_request(target);
  state_.metrics.count_upstream_request(bot_.name, target.number);
}

void Flight::on_retry(const UpstreamError& error) {
  if (AnswerHandler* const asker = asker_handler()) return asker->on_retry(error);
  note_retry(state_.metrics, bot_.name, error, *target());
}

void Flight::on_failover(const UpstreamError& error, const Target& from) {
  if (AnswerHandler* const asker = asker_handler()) return asker->on_failover(error, from);
  note_failover(state_.metrics, request_id_, bot_.name, error, from, *target());
}

void Flight::append(RecordedPiece::Kind kind, std::string_view text) {
  if (has_ended_) return;
  bool has_grown = false;
  if (const std::string& session_id = answer().session_id; session_id != session_id_) {
    session_id_ = session_id;
    has_grown = recording().append(RecordedPiece::Kind::kSession, session_id_);
  }
  has_grown = recording().append(kind, text) || has_grown;
  has_text_ = has_text_ || kind == RecordedPiece::Kind::kText;
  if (has_grown) duty_.update();
  recording().deliver();
}

void Flight::on_finished(const Answer& answer) {
  is_complete_ = true;
  RecordingEnd end = end_so_far();
  end.may_be_cached = may_be_cached(answer);
  finish(AnswerRecording::State::kFinished, std::move(end));
}

void Flight::on_failed(const UpstreamError& error) {
  count_upstream_error(state_.metrics, bot_.name, error, *target());
  RecordingEnd end = end_so_far();
  UpstreamError masked = error;
  masked.code = scrub(error.code, target()->api_key);
  masked.message = scrub(error.message, target()->api_key);
  end.fault = std::move(masked);
  finish(AnswerRecording::State::kFailed, std::move(end));
}

void Flight::on_refused(const HttpError& error) {
  RecordingEnd end = end_so_far();
  end.fault = error;
  finish(AnswerRecording::State::kFailed, std::move(end));
}

void Flight::on_exception(const std::exception&) noexcept {
  if (has_ended_) return;
  source_->cancel();  // events of this iteration may still call it
  recording().break_off();
  duty_.update();
  end();
}

RecordingEnd Flight::end_so_far() const {
  RecordingEnd end{answer(), {}, 0, Clock::now(), false};
  if (const Target* const asked = target()) {
    end.answer.model = scrub(answer().model, asked->api_key);
    end.answer.request_id = scrub(answer().request_id, asked->api_key);
    end.target = asked->number;
  }
  return end;
}

// Not the answer of a stand-in for the bot's first application.
bool Flight::may_be_cached(const Answer& answer) const {
  return has_text_ && answer.finish_reason == "stop" && !answer.is_rejected &&
         target()->number == bot_.upstream.clients().front().target().number;
}

void Flight::finish(AnswerRecording::State state, RecordingEnd end) {
  if (has_ended_) return;
  recording().finish(state, std::move(end));
  duty_.update();
  this->end();
}

// The readers still have to read the rest.
void Flight::end() noexcept {
  assert(!has_ended_);
  has_ended_ = true;
  if (asker_ != nullptr) std::exchange(asker_, nullptr)->unfollow();
  recording().deliver();
  flights_.end(*this);
}

// --- the subscribers ---

void Flight::review() {
  if (has_ended_) return;
  if (recording().abandon_if_unread()) {
    duty_.update();
    return end();
  }
  const bool pauses = recording().is_paused_by_all();
  if (pauses && !is_paused_) is_paused_ = source_->pause();
  if (!pauses && std::exchange(is_paused_, false)) source_->resume();
  if (!has_ended_) recording().deliver();
}

}  // namespace bailian
