#include "telemetry/status_board.h"

#include <algorithm>

#include "base/log.h"

namespace bailian {
namespace {

std::optional<Clock::duration> between(Clock::time_point from, Clock::time_point to) {
  if (from == Clock::time_point::min()) return std::nullopt;
  return std::max(to - from, Clock::duration::zero());
}

}  // namespace

LiveChat::LiveChat(LoopBoard& board, std::string request_id, AnswerMode mode, Clock::time_point started)
    : board_(board), request_id_(std::move(request_id)), mode_(mode), started_(started) {
  board_.add(*this);
}

LiveChat::~LiveChat() { board_.remove(*this); }

ChatView LiveChat::view(Clock::time_point now) const {
  ChatView view;
  view.request_id = request_id_;
  view.mode = mode_;
  view.phase = phase_.load(std::memory_order_relaxed);
  view.age = std::max(now - started_, Clock::duration::zero());
  view.tokens = tokens_.load(std::memory_order_relaxed);
  view.sent_bytes = sent_bytes_.load(std::memory_order_relaxed);
  view.waiting_bytes = waiting_bytes_.load(std::memory_order_relaxed);
  const auto first_token = first_token_.load(std::memory_order_relaxed);
  if (first_token != Clock::time_point::min()) view.first_token = first_token - started_;
  view.silence = between(last_bytes_.load(std::memory_order_relaxed), now);
  return view;
}

void LoopBoard::add(LiveChat& chat) {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    places_.push_back(nullptr);
    free_.reserve(places_.capacity());  // so that a chat can always leave
    free_.push_back(places_.size() - 1);
  }
  chat.place_ = free_.back();
  free_.pop_back();
  places_[chat.place_] = &chat;
}

void LoopBoard::remove(const LiveChat& chat) {
  const std::lock_guard lock(mutex_);
  places_[chat.place_] = nullptr;
  free_.push_back(chat.place_);
}

std::optional<size_t> LoopBoard::read(size_t place, size_t most, Clock::time_point now,
                                      std::vector<ChatView>& views) const {
  const std::lock_guard lock(mutex_);
  const size_t end = std::min(place + most, places_.size());
  for (; place < end; ++place) {
    if (places_[place] != nullptr) views.push_back(places_[place]->view(now));
  }
  if (end == places_.size()) return std::nullopt;
  return end;
}

StatusBoard::StatusBoard() : started(Clock::now()), start_time(now_rfc3339()) {}

LoopBoard& StatusBoard::add_loop() { return *loops_.emplace_back(std::make_unique<LoopBoard>()); }

}  // namespace bailian
