#include "chat/failed_streams.h"

#include <array>
#include <functional>

namespace bailian {

FailedStreams::Question FailedStreams::question(std::string_view visitor, const ChatRequest& request) const {
  const std::hash<std::string_view> hash;
  Question sum = salt_;
  const auto add = [&](std::string_view field) {
    const std::array<uint64_t, 2> both = {sum, hash(field)};
    sum = hash({reinterpret_cast<const char*>(both.data()), sizeof both});
  };
  add(visitor);
  add(request.prompt);
  add(request.session_id);
  add(request.biz_params_json);
  for (const Message& message : request.history) {
    add(message.role);
    add(message.content);
  }
  add("images");
  for (const std::string& url : request.image_urls) add(url);
  return sum;
}

void FailedStreams::forget_oldest() {
  const Moment& oldest = moments_.front();
  const auto entry = entries_.find(oldest.question);
  if (entry != entries_.end() && entry->second.since == oldest.since) entries_.erase(entry);
  moments_.pop_front();
}

void FailedStreams::remember(Question question, const Failure& failure, Clock::time_point now) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    while (!moments_.empty() &&
           (moments_.size() >= kMaxQuestions || moments_.front().since + kRemembered <= now))
      forget_oldest();
    moments_.push_back({question, now});
    entries_.insert_or_assign(question, Entry{failure, now});
  } catch (const std::exception&) {  // out of memory
  }
}

std::optional<FailedStreams::Failure> FailedStreams::take(Question question, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(question);
  if (entry == entries_.end()) return std::nullopt;
  std::optional<Failure> failure;
  if (now < entry->second.since + kRemembered) failure = std::move(entry->second.failure);
  entries_.erase(entry);
  return failure;
}

}  // namespace bailian
