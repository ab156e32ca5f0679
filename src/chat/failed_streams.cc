#include "chat/failed_streams.h"

#include <array>
#include <cassert>
#include <functional>

namespace bailian {

FailedStreams::Key FailedStreams::key(std::string_view visitor, const Question& question) const {
  const std::hash<std::string_view> hash;
  Key sum = salt_;
  const auto add = [&](std::string_view field) {
    const std::array<uint64_t, 2> both = {sum, hash(field)};
    sum = hash({reinterpret_cast<const char*>(both.data()), sizeof both});
  };
  add(visitor);
  add(question.prompt);
  add(question.session_id);
  add(question.biz_params_json);
  for (const Message& message : question.history) {
    add(message.role);
    add(message.content);
  }
  add("images");
  for (const std::string& url : question.image_urls) add(url);
  return sum;
}

void FailedStreams::forget_oldest() {
  const Expiry& oldest = expiries_.front();
  const auto entry = entries_.find(oldest.key);
  if (entry != entries_.end() && entry->second.since == oldest.since) entries_.erase(entry);
  expiries_.pop_front();
}

void FailedStreams::remember(Key key, const Failure& failure, Clock::time_point now) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    while (!expiries_.empty() &&
           (expiries_.size() >= kMaxQuestions || expiries_.front().since + kRemembered <= now))
      forget_oldest();
    expiries_.push_back({key, now});
    entries_.insert_or_assign(key, Entry{failure, now});
    assert(entries_.size() <= expiries_.size());
  } catch (const std::exception&) {  // out of memory
  }
}

std::optional<FailedStreams::Failure> FailedStreams::take(Key key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return std::nullopt;
  std::optional<Failure> failure;
  if (now < entry->second.since + kRemembered) failure = std::move(entry->second.failure);
  entries_.erase(entry);
  return failure;
}

}  // namespace bailian
