#include "chat/answer_reader.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "chat/flight.h"

namespace bailian {

AnswerReader::AnswerReader(EventLoop& loop, AnswerRecording::Subscription subscription, ReaderRole role,
                           const Config& config, AnswerHandler& handler)
    : loop_(loop),
      deliver_later_(loop, bind<&AnswerReader::deliver>(this)),
      notifier_(loop, bind<&AnswerReader::deliver>(this)),
      subscription_(std::move(subscription)),
      role_(role),
      config_(config),
      handler_(handler),
      cursor_(subscription_.start()) {
  subscription_.forget_start();
  subscription_.attach(*this);
  deliver_later_.schedule();
}

AnswerReader::~AnswerReader() {
  if (flight_ != nullptr) flight_->forget_asker();
}

bool AnswerReader::pause() {
  if (state_ != State::kReading) return false;
  state_ = State::kPaused;
  subscription_.set_paused(true);
  return true;
}

void AnswerReader::resume() {
  if (state_ != State::kPaused) return;
  state_ = State::kReading;
  subscription_.set_paused(false);
  deliver();
}

void AnswerReader::cancel() noexcept { state_ = State::kEnded; }

const Target* AnswerReader::target() const {
  if (flight_ != nullptr) return flight_->target();
  if (subscription_.recording().state() == AnswerRecording::State::kUnderWay) return nullptr;
  const int number = subscription_.recording().end().target;
  const auto found = std::ranges::find(config_.targets, number, &Target::number);
  return found != config_.targets.end() ? &*found : nullptr;
}

bool AnswerReader::has_lost_session() const { return flight_ != nullptr && flight_->has_lost_session(); }

const Answer& AnswerReader::answer() const {
  if (flight_ != nullptr) return flight_->answer();
  const AnswerRecording& recording = subscription_.recording();
  const bool has_ended = recording.state() != AnswerRecording::State::kUnderWay;
  return is_same_visitor() && has_ended ? recording.end().answer : answer_;
}

void AnswerReader::deliver() noexcept {
  if (is_delivering_ || state_ != State::kReading) return;
  is_delivering_ = true;
  try {
    read();
  } catch (const std::exception& error) {
    on_exception(error);
  }
  is_delivering_ = false;
}

void AnswerReader::read() {
  bool has_news = false;
  while (state_ == State::kReading) {
    const AnswerRecording::State how = subscription_.recording().state();
    const auto piece = cursor_.next();
    if (!piece) {
      if (how != AnswerRecording::State::kUnderWay) end(how);
      return;
    }
    if (!std::exchange(has_news, true)) handler_.on_bytes(Clock::now());
    take(*piece);
  }
}

void AnswerReader::take(const RecordedPiece& piece) {
  switch (piece.kind) {
    case RecordedPiece::Kind::kText:
      return handler_.on_text(piece.text);
    case RecordedPiece::Kind::kThought:
      return handler_.on_thought(piece.text);
    case RecordedPiece::Kind::kSession:
      if (is_same_visitor()) answer_.session_id = piece.text;
      return;
  }
}

void AnswerReader::end(AnswerRecording::State how) {
  state_ = State::kEnded;
  if (how == AnswerRecording::State::kBroken) throw std::bad_alloc();
  const RecordingEnd& end = subscription_.recording().end();
  if (!is_same_visitor()) {
    answer_ = end.answer;
    answer_.session_id.clear();
    answer_.usage = {};
  }
  if (const auto* const refusal = std::get_if<HttpError>(&end.fault)) return handler_.on_refused(*refusal);
  if (const auto* const error = std::get_if<UpstreamError>(&end.fault)) return handler_.on_failed(*error);
  handler_.on_finished(answer());
}

void AnswerReader::on_exception(const std::exception& error) noexcept {
  state_ = State::kEnded;
  handler_.on_exception(error);
}

}  // namespace bailian
