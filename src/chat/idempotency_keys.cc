#include "chat/idempotency_keys.h"

#include <fmt/format.h>

#include "base/exchange.h"
#include "base/text.h"

namespace bailian {

std::string IdempotencyKeys::id(std::string_view bot, std::string_view visitor, std::string_view key) {
  if (key.size() > kMaxKeyBytes || !is_visible_ascii(key)) {
    throw HttpError(400, "invalid_request",
                    fmt::format("Idempotency-Key must be printable ASCII of at most {} bytes", kMaxKeyBytes));
  }
  return fmt::format("{} {} {}", bot, visitor, key);
}

IdempotencyKeys::Known IdempotencyKeys::find(const std::string& id, uint64_t fingerprint,
                                             Clock::time_point now) {
  const auto found = index_.find(id);
  if (found == index_.end()) return {};
  const Entry& entry = *found->second;
  if (is_over(entry, now)) {
    drop(found->second);
    return {};
  }
  if (entry.fingerprint != fingerprint) return {true};
  return {false, entry.recorded};
}

void IdempotencyKeys::note(const std::string& id, uint64_t fingerprint, const Recorded& recorded,
                           Clock::time_point now) {
  if (const auto known = index_.find(id); known != index_.end()) drop(known->second);
  if (entries_.size() >= kMaxKeys) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const auto next = std::next(entry);
      if (is_over(*entry, now)) drop(entry);
      entry = next;
    }
    if (entries_.size() >= kMaxKeys) drop(entries_.begin());
  }
  entries_.push_back({id, fingerprint, recorded, now});
  try {
    index_.emplace(id, std::prev(entries_.end()));
  } catch (...) {
    entries_.pop_back();
    throw;
  }
  measure(entries_.back());
  evict();
}

void IdempotencyKeys::update(const std::string& id, const AnswerRecording& recording) noexcept {
  const auto found = index_.find(id);
  if (found == index_.end() || found->second->recorded.recording.get() != &recording) return;
  if (is_over(*found->second, Clock::time_point::min())) return drop(found->second);
  measure(*found->second);
  evict();
}

bool IdempotencyKeys::is_over(const Entry& entry, Clock::time_point now) {
  if (!entry.recorded) return now >= entry.since + kRemembered;
  const AnswerRecording& recording = *entry.recorded.recording;
  switch (recording.state()) {
    case AnswerRecording::State::kUnderWay:
      return false;
    case AnswerRecording::State::kFinished:
      return now >= recording.end().at + kRemembered;
    default:
      return true;
  }
}

void IdempotencyKeys::measure(Entry& entry) noexcept {
  size_t bytes = sizeof(Entry) + 2 * entry.id.size();
  if (entry.recorded) bytes += entry.recorded.recording->bytes() + sizeof(AnswerRecording);
  bytes_ += bytes - entry.bytes;
  entry.bytes = bytes;
}

void IdempotencyKeys::evict() noexcept {
  while (bytes_ > kMaxBytes && !entries_.empty()) drop(entries_.begin());
}

void IdempotencyKeys::drop(Entries::iterator entry) noexcept {
  bytes_ -= entry->bytes;
  index_.erase(entry->id);
  entries_.erase(entry);
}

}  // namespace bailian
