#include "chat/failed_streams.h"

#include <algorithm>
#include <array>
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
  add(question.bot);
  add(question.prompt);
  add(question.session_id);
  add(question.biz_params_json);
  add(question.memory_id);
  for (const Message& message : question.history) {
    add(message.role);
    add(message.content);
  }
  add("images");
  for (const std::string& url : question.image_urls) add(url);
  add("files");
  for (const std::string& id : question.file_ids) add(id);
  return sum;
}

void FailedStreams::remember(Key key, const Failure& failure, Clock::time_point now) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_,
                  [&](const Entry& entry) { return entry.key == key || entry.since + kRemembered <= now; });
    if (entries_.size() == kMaxQuestions) entries_.pop_front();
    entries_.push_back({key, failure, now});
  } catch (const std::exception&) {  // out of memory
  }
}

std::optional<FailedStreams::Failure> FailedStreams::take(Key key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto entry = std::ranges::find(entries_, key, &Entry::key);
  if (entry == entries_.end()) return std::nullopt;
  std::optional<Failure> failure;
  if (now < entry->since + kRemembered) failure = std::move(entry->failure);
  entries_.erase(entry);
  return failure;
}

}  // namespace bailian
