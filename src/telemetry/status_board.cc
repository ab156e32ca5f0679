#include "telemetry/status_board.h"

#include <algorithm>
#include <utility>

namespace bailian {

LiveChat::LiveChat(LoopBoard& board, std::string request_id, std::string_view bot, AnswerMode mode,
                   Clock::time_point started)
    : board_(board), request_id_(std::move(request_id)), bot_(bot), mode_(mode), started_(started) {
  board_.add(*this);
}

LiveChat::~LiveChat() { board_.remove(*this); }

ChatView LiveChat::view(Clock::time_point now) const {
  ChatView view;
  view.request_id = request_id_;
  view.bot = bot_;
  view.mode = mode_;
  view.phase = phase_.load(std::memory_order_relaxed);
  view.age = std::max(now - started_, Clock::duration::zero());
  view.tokens = tokens_.load(std::memory_order_relaxed);
  view.sent_bytes = sent_bytes_.load(std::memory_order_relaxed);
  view.waiting_bytes = waiting_bytes_.load(std::memory_order_relaxed);
  const auto first_token = first_token_.load(std::memory_order_relaxed);
  if (first_token != Clock::time_point::min()) view.first_token = first_token - started_;
  const auto last_bytes = last_bytes_.load(std::memory_order_relaxed);
  if (last_bytes != Clock::time_point::min())
    view.silence = std::max(now - last_bytes, Clock::duration::zero());
  return view;
}

void LoopBoard::add(LiveChat& chat) {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    slots_.push_back(nullptr);
    free_.reserve(slots_.capacity());  // so that removing a chat never allocates
    free_.push_back(slots_.size() - 1);
  }
  chat.slot_ = free_.back();
  free_.pop_back();
  slots_[chat.slot_] = &chat;
}

void LoopBoard::remove(const LiveChat& chat) {
  const std::lock_guard lock(mutex_);
  slots_[chat.slot_] = nullptr;
  free_.push_back(chat.slot_);
}

std::optional<size_t> LoopBoard::read(size_t slot, size_t max_slots, Clock::time_point now,
                                      std::vector<ChatView>& views) const {
  const std::lock_guard lock(mutex_);
  const size_t end = std::min(slot + max_slots, slots_.size());
  for (; slot < end; ++slot) {
    if (slots_[slot] != nullptr) views.push_back(slots_[slot]->view(now));
  }
  if (end == slots_.size()) return std::nullopt;
  return end;
}

}  // namespace bailian
