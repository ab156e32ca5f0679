#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "chat/answer_recording.h"
#include "dashscope/chat_types.h"
#include "settings/config.h"

namespace bailian {

/// Everything but the question itself that decides a bot's answer to a first question: applications, prompt,
/// parameters, and the profile that offers the question.
struct AnswerScope {
  std::string text;
  size_t hash;  // of text
};
/// Throws std::bad_alloc.
std::shared_ptr<const AnswerScope> make_answer_scope(const Config& config);

/// Whether ANSWER_CACHE of the bot allows to cache the answer: the question depends on nothing that is the
/// visitor's own.
bool is_cacheable(const Question& question, const Config& config);

/// Answers for questions that many visitors ask, and those that are under way. Used by SharedAnswers, under
/// its mutex.
class AnswerCache {
 public:
  struct Key {
    std::shared_ptr<const AnswerScope> scope;
    std::string prompt;  // trimmed

    bool operator==(const Key& other) const {
      return prompt == other.prompt && (scope == other.scope || scope->text == other.scope->text);
    }
  };

  /// The answer, complete and younger than `ttl`, or under way, or nothing.
  Recorded find(const Key& key, Clock::duration ttl, Clock::time_point now);
  /// Notes an answer that begins. An earlier one remains until this one is complete. What was not used for
  /// the longest time is dropped when there would be more than `max_bytes`. Throws std::bad_alloc.
  void begin(const Key& key, const Recorded& recorded, size_t max_bytes);
  /// An answer that began has grown or ended. Keeps a complete one if it may be cached.
  void update(const Key& key) noexcept;
  /// Drops the answers that bots of `config` would not give. Throws std::bad_alloc.
  void retain(const Config& config);

  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Hash {
    size_t operator()(const Key& key) const {
      return std::hash<std::string>{}(key.prompt) * 31 + key.scope->hash;
    }
  };
  struct Entry {
    Key key;
    Recorded complete;
    Recorded under_way;
    size_t bytes = 0;  // as counted in bytes_
  };
  using Entries = std::list<Entry>;

  void settle(Entry& entry) noexcept;
  void measure(Entry& entry) noexcept;
  void evict() noexcept;
  Entries::iterator drop(Entries::iterator entry) noexcept;

  Entries entries_;  // used last first
  std::unordered_map<Key, Entries::iterator, Hash> index_;
  size_t bytes_ = 0;
  size_t max_bytes_ = 0;
};

}  // namespace bailian
