#include "chat/answer_cache.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "dashscope/api.h"

namespace bailian {

std::shared_ptr<const AnswerScope> make_answer_scope(const Config& config) {
  AnswerScope scope{completion_body({}, config, AnswerMode::kStream), 0};
  const auto add = [&scope](std::string_view text) {
    scope.text += '\n';
    scope.text += text;
  };
  add(config.name);
  add(config.bot_profile.etag);
  add(config.is_moderated ? "cip" : "");
  for (const Target& target : config.targets) {
    add(target.base_url);
    add(target.workspace);
    add(target.app_id);
  }
  scope.hash = std::hash<std::string>{}(scope.text);
  return std::make_shared<const AnswerScope>(std::move(scope));
}

bool is_cacheable(const Question& question, const Config& config) {
  if (config.answer_cache == AnswerCaching::kOff) return false;
  const bool is_own = !question.history.empty() || !question.session_id.empty() ||
                      !question.image_urls.empty() || !question.biz_params_json.empty() ||
                      !question.memory_id.empty() || !question.file_ids.empty();
  if (is_own) return false;
  return config.answer_cache == AnswerCaching::kFirstTurn ||
         std::ranges::find(config.bot_profile.button_prompts, trim(question.prompt)) !=
             config.bot_profile.button_prompts.end();
}

Recorded AnswerCache::find(const Key& key, Clock::duration ttl, Clock::time_point now) {
  const auto found = index_.find(key);
  if (found == index_.end()) return {};
  entries_.splice(entries_.begin(), entries_, found->second);
  Entry& entry = *found->second;
  settle(entry);
  if (entry.complete && now >= entry.complete.recording->end().at + ttl) entry.complete = {};
  Recorded recorded = entry.complete ? entry.complete : entry.under_way;
  measure(entry);
  if (!recorded) drop(found->second);
  return recorded;
}

void AnswerCache::begin(const Key& key, const Recorded& recorded, size_t max_bytes) {
  max_bytes_ = max_bytes;
  auto found = index_.find(key);
  if (found == index_.end()) {
    entries_.push_front({key, {}, {}});
    try {
      found = index_.emplace(key, entries_.begin()).first;
    } catch (...) {
      entries_.pop_front();
      throw;
    }
  }
  Entry& entry = *found->second;
  settle(entry);
  entry.under_way = recorded;
  measure(entry);
  evict();
}

void AnswerCache::update(const Key& key) noexcept {
  const auto found = index_.find(key);
  if (found == index_.end()) return;
  Entry& entry = *found->second;
  settle(entry);
  measure(entry);
  if (!entry.complete && !entry.under_way) {
    drop(found->second);
  } else {
    evict();
  }
}

void AnswerCache::retain(const Config& config) {
  std::vector<std::shared_ptr<const AnswerScope>> scopes;
  const auto add = [&scopes](const Config& bot) {
    if (bot.answer_cache != AnswerCaching::kOff) scopes.push_back(make_answer_scope(bot));
  };
  add(config);
  std::ranges::for_each(config.bots, add);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto is_own = [&](const auto& scope) { return scope->text == entry->key.scope->text; };
    entry = std::ranges::any_of(scopes, is_own) ? std::next(entry) : drop(entry);
  }
}

// The answer that was under way may have ended.
void AnswerCache::settle(Entry& entry) noexcept {
  if (!entry.under_way) return;
  const AnswerRecording& recording = *entry.under_way.recording;
  if (recording.state() == AnswerRecording::State::kUnderWay) return;
  const Recorded ended = std::exchange(entry.under_way, {});
  if (recording.state() == AnswerRecording::State::kFinished && recording.end().may_be_cached)
    entry.complete = ended;
}

void AnswerCache::measure(Entry& entry) noexcept {
  size_t bytes = sizeof(Entry) + 2 * (sizeof(Key) + entry.key.prompt.size());
  for (const Recorded* const recorded : {&entry.complete, &entry.under_way}) {
    if (*recorded) bytes += recorded->recording->bytes() + sizeof(AnswerRecording);
  }
  bytes_ += bytes - entry.bytes;
  entry.bytes = bytes;
}

void AnswerCache::evict() noexcept {
  while (bytes_ > max_bytes_ && !entries_.empty()) drop(std::prev(entries_.end()));
}

AnswerCache::Entries::iterator AnswerCache::drop(Entries::iterator entry) noexcept {
  bytes_ -= entry->bytes;
  index_.erase(entry->key);
  return entries_.erase(entry);
}

}  // namespace bailian
