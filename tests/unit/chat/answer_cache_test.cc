#include "chat/answer_cache.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

using namespace std::chrono_literals;
using State = AnswerRecording::State;

Config settings() {
  Config config;
  config.parameters_json = "{}";
  config.answer_cache = AnswerCaching::kButtons;
  config.bot_profile.etag = "\"1\"";
  config.bot_profile.button_prompts = {"hello", "a discount"};
  config.targets[0].app_id = "app";
  return config;
}

// --- which questions ---

struct CacheableCase {
  const char* name;
  AnswerCaching caching;
  void (*change)(Question&);
  bool is_cacheable;
};
void PrintTo(const CacheableCase& test, std::ostream* out) { *out << test.name; }

class CacheableQuestions : public testing::TestWithParam<CacheableCase> {};

TEST_P(CacheableQuestions, AreThoseThatManyAsk) {
  Config config = settings();
  config.answer_cache = GetParam().caching;
  Question question;
  question.prompt = "hello";
  GetParam().change(question);
  EXPECT_EQ(is_cacheable(question, config), GetParam().is_cacheable);
}

constexpr auto kNothing = [](Question&) {};
INSTANTIATE_TEST_SUITE_P(
    All, CacheableQuestions,
    testing::Values(
        CacheableCase{"Button", AnswerCaching::kButtons, kNothing, true},
        CacheableCase{"Off", AnswerCaching::kOff, kNothing, false},
        CacheableCase{"FirstTurn", AnswerCaching::kFirstTurn, kNothing, true},
        CacheableCase{"Trimmed", AnswerCaching::kButtons, [](Question& q) { q.prompt = " hello\n"; }, true},
        CacheableCase{"NoButton", AnswerCaching::kButtons, [](Question& q) { q.prompt = "hello?"; }, false},
        CacheableCase{"OtherFirstTurn", AnswerCaching::kFirstTurn, [](Question& q) { q.prompt = "hello?"; },
                      true},
        CacheableCase{"Thoughts", AnswerCaching::kButtons, [](Question& q) { q.include_thoughts = true; },
                      true},
        CacheableCase{"Whole", AnswerCaching::kButtons, [](Question& q) { q.mode = AnswerMode::kJson; },
                      true},
        CacheableCase{"History", AnswerCaching::kFirstTurn,
                      [](Question& q) {
                        q.history = {{"user", "hi"}};
                      },
                      false},
        CacheableCase{"Session", AnswerCaching::kFirstTurn, [](Question& q) { q.session_id = "s"; }, false},
        CacheableCase{"Images", AnswerCaching::kFirstTurn, [](Question& q) { q.image_urls = {"https://a"}; },
                      false},
        CacheableCase{"BizParams", AnswerCaching::kFirstTurn, [](Question& q) { q.biz_params_json = "{}"; },
                      false},
        CacheableCase{"Memory", AnswerCaching::kFirstTurn, [](Question& q) { q.memory_id = "m"; }, false},
        CacheableCase{"Files", AnswerCaching::kFirstTurn, [](Question& q) { q.file_ids = {"f"}; }, false}));

// --- what changes an answer ---

TEST(AnswerScopes, DifferInAllThatChangesAnAnswer) {
  const auto first = make_answer_scope(settings());
  EXPECT_EQ(make_answer_scope(settings())->text, first->text);
  const std::vector<void (*)(Config&)> changes = {
      [](Config& c) { c.name = "shop"; },
      [](Config& c) { c.targets[0].app_id = "other"; },
      [](Config& c) { c.targets[0].base_url = "https://other"; },
      [](Config& c) { c.targets[0].workspace = "other"; },
      [](Config& c) { c.targets.emplace_back(); },
      [](Config& c) { c.parameters_json = R"({"has_thoughts":true})"; },
      [](Config& c) { c.biz_params_json = R"({"city":"x"})"; },
      [](Config& c) { c.memory_id = "m"; },
      [](Config& c) { c.is_moderated = true; },
      [](Config& c) { c.system_prompt = "p"; },
      [](Config& c) { c.temperature = "0.5"; },
      [](Config& c) { c.bot_profile.etag = "\"2\""; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    Config config = settings();
    changes[i](config);
    EXPECT_NE(make_answer_scope(config)->text, first->text) << i;
  }
  Config config = settings();
  config.answer_cache_ttl = Seconds(1);
  config.targets[0].api_key = "sk-0123456789abcdef";
  EXPECT_EQ(make_answer_scope(config)->text, first->text);
}

// --- the cache ---

class AnswerCaches : public testing::Test {
 protected:
  static constexpr auto kTtl = 1h;
  static constexpr size_t kRoomy = size_t{1} << 20;

  [[nodiscard]] AnswerCache::Key key(const std::string& prompt = "hello") const { return {scope_, prompt}; }
  Recorded begin(const AnswerCache::Key& key, size_t max_bytes = kRoomy, size_t answer_bytes = 10) {
    const Recorded recorded = start_recording(loop_);
    recorded.recording->append(RecordedPiece::Kind::kText, std::string(answer_bytes, 'x'));
    cache_.begin(key, recorded, max_bytes);
    return recorded;
  }
  void end(const AnswerCache::Key& key, const Recorded& recorded, State state = State::kFinished,
           bool may_be_cached = true) {
    RecordingEnd end;
    end.at = now_;
    end.may_be_cached = may_be_cached;
    recorded.recording->finish(state, std::move(end));
    cache_.update(key);
  }
  AnswerRecording* find(const AnswerCache::Key& key, Clock::duration after = 0s) {
    return cache_.find(key, kTtl, now_ + after).recording.get();
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Clock::time_point now_ = Clock::now();
  std::shared_ptr<const AnswerScope> scope_ = make_answer_scope(settings());
  AnswerCache cache_;
};

TEST_F(AnswerCaches, HaveAnAnswerFromItsBeginningUntilItIsTooOld) {
  EXPECT_EQ(find(key()), nullptr);
  const Recorded recorded = begin(key());
  EXPECT_EQ(find(key()), recorded.recording.get());
  end(key(), recorded);
  EXPECT_EQ(find(key()), recorded.recording.get());
  EXPECT_EQ(find(key(), kTtl - 1ns), recorded.recording.get());
  EXPECT_EQ(find(key(), kTtl), nullptr);
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(cache_.bytes(), 0U);
}

TEST_F(AnswerCaches, HaveNoOtherQuestionsAnswer) {
  end(key(), begin(key()));
  EXPECT_EQ(find(key("hello?")), nullptr);
  Config other = settings();
  other.system_prompt = "p";
  EXPECT_EQ(find({make_answer_scope(other), "hello"}), nullptr);
  EXPECT_NE(find({make_answer_scope(settings()), "hello"}), nullptr);
}

TEST_F(AnswerCaches, KeepNoAnswerThatFailedOrMayNotBeCached) {
  end(key("a"), begin(key("a")), State::kFailed);
  end(key("b"), begin(key("b")), State::kFinished, false);
  const Recorded broken = begin(key("c"));
  broken.recording->break_off();
  cache_.update(key("c"));
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(cache_.bytes(), 0U);
}

TEST_F(AnswerCaches, KeepTheEarlierAnswerUntilTheNextIsComplete) {
  const Recorded first = begin(key());
  end(key(), first);
  const Recorded second = begin(key());
  EXPECT_EQ(find(key()), first.recording.get());
  end(key(), second);
  EXPECT_EQ(find(key()), second.recording.get());
  end(key(), begin(key()), State::kFailed);
  EXPECT_EQ(find(key()), second.recording.get());
}

TEST_F(AnswerCaches, DropWhatWasNotUsedForTheLongestTime) {
  constexpr size_t kThree = size_t{3} * 5000;
  for (const char* prompt : {"a", "b", "c"}) end(key(prompt), begin(key(prompt), kThree, 2000));
  EXPECT_NE(find(key("a")), nullptr);
  end(key("d"), begin(key("d"), kThree, 2000));
  EXPECT_EQ(find(key("b")), nullptr);
  for (const char* prompt : {"a", "c", "d"}) EXPECT_NE(find(key(prompt)), nullptr) << prompt;
  EXPECT_LE(cache_.bytes(), kThree);
}

TEST_F(AnswerCaches, CountAnAnswerThatGrows) {
  constexpr size_t kLimit = 100'000;
  end(key("a"), begin(key("a"), kLimit));
  const Recorded large = begin(key("b"), kLimit);
  for (int i = 0; i < 100; ++i) {
    if (large.recording->append(RecordedPiece::Kind::kText, std::string(2000, 'x'))) cache_.update(key("b"));
    ASSERT_LE(cache_.bytes(), kLimit) << i;
  }
  EXPECT_EQ(cache_.size(), 0U);
}

TEST_F(AnswerCaches, ForgetWhatOtherSettingsWouldNotAsk) {
  end(key(), begin(key()));
  cache_.retain(settings());
  EXPECT_NE(find(key()), nullptr);
  Config other = settings();
  other.system_prompt = "p";
  other.bots.push_back(settings());
  cache_.retain(other);
  EXPECT_NE(find(key()), nullptr);
  other.bots.clear();
  cache_.retain(other);
  cache_.retain(settings());
  EXPECT_EQ(find(key()), nullptr);
}

}  // namespace
}  // namespace bailian
