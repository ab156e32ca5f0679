#include "chat/answer_recording.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "chat/answer_reader.h"
#include "chat/flight.h"

namespace bailian {
namespace {

constexpr size_t kFirstChunkBytes = 1024;
constexpr size_t kMaxChunkBytes = size_t{64} << 10;

// Before the bytes of each piece: their number, with the kind in the two highest bits.
using Header = uint32_t;
constexpr int kKindShift = 30;
constexpr Header kSizeMask = (Header{1} << kKindShift) - 1;

}  // namespace

// --- reading ---

std::optional<RecordedPiece> RecordingCursor::next() {
  for (;;) {
    const bool is_full = chunk_->is_full_.load(std::memory_order_acquire);
    if (offset_ < chunk_->size_.load(std::memory_order_acquire)) break;
    if (!is_full) return std::nullopt;
    chunk_ = std::shared_ptr<const RecordingChunk>(chunk_->next_);
    offset_ = 0;
  }
  Header header = 0;
  std::memcpy(&header, chunk_->bytes_.get() + offset_, sizeof header);
  const std::string_view text(chunk_->bytes_.get() + offset_ + sizeof header, header & kSizeMask);
  offset_ += sizeof header + text.size();
  return RecordedPiece{static_cast<RecordedPiece::Kind>(header >> kKindShift), text};
}

// --- writing ---

AnswerRecording::AnswerRecording(EventLoop& home)
    : home_(home),
      last_chunk_(std::make_shared<RecordingChunk>(kFirstChunkBytes)),
      bytes_(kFirstChunkBytes) {}

Recorded start_recording(EventLoop& home) {
  auto recording = std::make_shared<AnswerRecording>(home);
  std::shared_ptr<const RecordingChunk> start = recording->last_chunk();
  return {std::move(recording), std::move(start)};
}

void AnswerRecording::attach(Flight& flight) noexcept {
  const std::lock_guard lock(mutex_);
  flight_ = &flight;
}

void AnswerRecording::detach() noexcept {
  const std::lock_guard lock(mutex_);
  flight_ = nullptr;
}

bool AnswerRecording::append(RecordedPiece::Kind kind, std::string_view text) {
  assert(home_.in_loop_thread() && text.size() <= kSizeMask);
  const size_t needed = sizeof(Header) + text.size();
  size_t size = last_chunk_->size_.load(std::memory_order_relaxed);
  const bool grows = needed > last_chunk_->capacity_ - size;
  if (grows) {
    const size_t capacity = std::max(std::min(2 * last_chunk_->capacity_, kMaxChunkBytes), needed);
    auto next = std::make_shared<RecordingChunk>(capacity);
    last_chunk_->next_ = next;
    last_chunk_->is_full_.store(true, std::memory_order_release);
    last_chunk_ = std::move(next);
    bytes_.store(bytes() + capacity, std::memory_order_relaxed);
    size = 0;
  }
  const auto header = static_cast<Header>(text.size()) | static_cast<Header>(kind) << kKindShift;
  std::memcpy(last_chunk_->bytes_.get() + size, &header, sizeof header);
  if (!text.empty()) std::memcpy(last_chunk_->bytes_.get() + size + sizeof header, text.data(), text.size());
  last_chunk_->size_.store(size + needed, std::memory_order_release);
  return grows;
}

void AnswerRecording::finish(State state, RecordingEnd end) noexcept {
  const std::lock_guard lock(mutex_);
  assert(state_ == State::kUnderWay && state != State::kUnderWay);
  end_ = std::move(end);
  state_.store(state, std::memory_order_release);
}

bool AnswerRecording::abandon_if_unread() noexcept {
  const std::lock_guard lock(mutex_);
  if (subscribers_ > 0) return false;
  if (state_ == State::kUnderWay) state_.store(State::kAbandoned, std::memory_order_release);
  return true;
}

void AnswerRecording::break_off() noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUnderWay) return;
  state_.store(State::kBroken, std::memory_order_release);
  for (AnswerReader* const reader : remote_) reader->notify();
}

bool AnswerRecording::is_paused_by_all() const noexcept {
  const std::lock_guard lock(mutex_);
  return subscribers_ > 0 && paused_ == subscribers_;
}

void AnswerRecording::deliver() noexcept {
  assert(home_.in_loop_thread());
  // A reader leaves at its destruction only, which no call of it may cause.
  for (AnswerReader* const reader : local_) reader->deliver();
  if (has_remote_.load(std::memory_order_relaxed)) notify_remote();
}

void AnswerRecording::notify_remote() noexcept {
  const std::lock_guard lock(mutex_);
  for (AnswerReader* const reader : remote_) reader->notify();
}

// --- subscribers ---

bool AnswerRecording::subscribe() noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUnderWay && state_ != State::kFinished) return false;
  ++subscribers_;
  return true;
}

// A reader of another loop may miss what is appended at this moment: the flight delivers once more.
void AnswerRecording::attach(AnswerReader& reader) {
  const bool is_local = &reader.loop() == &home_;
  if (is_local) local_.push_back(&reader);
  const std::lock_guard lock(mutex_);
  if (!is_local) {
    remote_.push_back(&reader);
    has_remote_.store(true, std::memory_order_relaxed);
  }
  notify_flight(is_local);
}

void AnswerRecording::leave(AnswerReader* reader, bool is_paused) noexcept {
  const bool is_local = reader != nullptr && &reader->loop() == &home_;
  if (is_local) std::erase(local_, reader);
  const std::lock_guard lock(mutex_);
  if (reader != nullptr && !is_local) std::erase(remote_, reader);
  assert(subscribers_ > 0);
  --subscribers_;
  if (is_paused) --paused_;
  notify_flight(is_local);
}

void AnswerRecording::set_paused(const AnswerReader& reader, bool paused) noexcept {
  const std::lock_guard lock(mutex_);
  paused ? ++paused_ : --paused_;
  notify_flight(&reader.loop() == &home_);
}

// The flight looks at its subscribers again. On its own thread that needs no detour.
void AnswerRecording::notify_flight(bool from_home) noexcept {
  if (flight_ == nullptr) return;
  if (from_home) {
    flight_->schedule_review();
  } else {
    flight_->notify();
  }
}

AnswerRecording::Subscription::Subscription(const Recorded& recorded) {
  if (!recorded || !recorded.recording->subscribe()) return;
  recording_ = recorded.recording;
  start_ = recorded.start;
}

AnswerRecording::Subscription& AnswerRecording::Subscription::operator=(Subscription&& other) noexcept {
  assert(reader_ == nullptr && other.reader_ == nullptr);
  std::swap(recording_, other.recording_);
  std::swap(start_, other.start_);
  return *this;
}

AnswerRecording::Subscription::~Subscription() {
  if (recording_) recording_->leave(reader_, is_paused_);
}

void AnswerRecording::Subscription::attach(AnswerReader& reader) {
  recording_->attach(reader);
  reader_ = &reader;
}

void AnswerRecording::Subscription::set_paused(bool paused) noexcept {
  assert(reader_ != nullptr && is_paused_ != paused);
  is_paused_ = paused;
  recording_->set_paused(*reader_, paused);
}

}  // namespace bailian
