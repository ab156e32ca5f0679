#include "chat/idempotency_keys.h"

#include <gtest/gtest.h>

#include <string>

#include "base/exchange.h"

namespace bailian {
namespace {

using namespace std::chrono_literals;
using State = AnswerRecording::State;

class Keys : public testing::Test {
 protected:
  Recorded note(const std::string& id, uint64_t fingerprint = 1, size_t answer_bytes = 10) {
    const Recorded recorded = start_recording(loop_);
    recorded.recording->append(RecordedPiece::Kind::kText, std::string(answer_bytes, 'x'));
    keys_.note(id, fingerprint, recorded, now_);
    return recorded;
  }
  void end(const std::string& id, const Recorded& recorded, State state = State::kFinished) {
    RecordingEnd end;
    end.at = now_;
    recorded.recording->finish(state, std::move(end));
    keys_.update(id, *recorded.recording);
  }
  AnswerRecording* find(const std::string& id, Clock::duration after = 0s) {
    const auto known = keys_.find(id, 1, now_ + after);
    EXPECT_FALSE(known.is_other_question);
    return known.recorded.recording.get();
  }

  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Clock::time_point now_ = Clock::now();
  IdempotencyKeys keys_;
};

TEST(IdempotencyIds, AreOfABotAndAVisitor) {
  const std::string id = IdempotencyKeys::id("shop", "10.0.0.1", "k");
  EXPECT_NE(id, IdempotencyKeys::id("books", "10.0.0.1", "k"));
  EXPECT_NE(id, IdempotencyKeys::id("shop", "10.0.0.2", "k"));
  EXPECT_NE(id, IdempotencyKeys::id("shop", "10.0.0.1", "l"));
  EXPECT_NO_THROW(IdempotencyKeys::id("shop", "", std::string(255, '~')));
}

TEST(IdempotencyIds, RefuseKeysThatAreLongOrNotPrintable) {
  for (const std::string& key : {std::string(256, 'k'), std::string("a b"), std::string("a\n"),
                                 std::string("\x7f"), std::string("\0a", 2), std::string("键")}) {
    try {
      IdempotencyKeys::id("shop", "10.0.0.1", key);
      ADD_FAILURE() << key;
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status(), 400);
      EXPECT_EQ(error.code(), "invalid_request");
    }
  }
}

TEST_F(Keys, NameAnAnswerFromItsBeginningUntilTwoMinutesAfterItsEnd) {
  EXPECT_EQ(find("a"), nullptr);
  const Recorded recorded = note("a");
  EXPECT_EQ(find("a"), recorded.recording.get());
  EXPECT_EQ(find("a", 1h), recorded.recording.get()) << "under way";
  EXPECT_EQ(find("b"), nullptr);
  end("a", recorded);
  EXPECT_EQ(find("a", 120s - 1ns), recorded.recording.get());
  EXPECT_EQ(find("a", 120s), nullptr);
  EXPECT_EQ(keys_.size(), 0U);
  EXPECT_EQ(keys_.bytes(), 0U);
}

TEST_F(Keys, BelongToOneQuestionAlone) {
  const Recorded recorded = note("a");
  EXPECT_TRUE(keys_.find("a", 2, now_).is_other_question);
  end("a", recorded);
  EXPECT_TRUE(keys_.find("a", 2, now_ + 119s).is_other_question);
  EXPECT_FALSE(keys_.find("a", 2, now_ + 120s).is_other_question);
  keys_.note("b", 1, {}, now_);  // its answer came from the cache
  EXPECT_TRUE(keys_.find("b", 2, now_ + 119s).is_other_question);
  EXPECT_EQ(find("b"), nullptr);
  EXPECT_FALSE(keys_.find("b", 2, now_ + 120s).is_other_question);
}

TEST_F(Keys, AreFreeAfterAnAnswerThatFailedOrWasCut) {
  end("a", note("a"), State::kFailed);
  EXPECT_EQ(keys_.size(), 0U);
  const Recorded abandoned = note("b");
  ASSERT_TRUE(abandoned.recording->abandon_if_unread());
  EXPECT_FALSE(keys_.find("b", 2, now_).is_other_question);
  const Recorded broken = note("c");
  broken.recording->break_off();
  EXPECT_FALSE(keys_.find("c", 2, now_).is_other_question);
  EXPECT_EQ(keys_.bytes(), 0U);
}

TEST_F(Keys, StayWithTheirNewestAnswer) {
  const Recorded first = note("a");
  const Recorded second = note("a");
  end("a", first, State::kFailed);
  EXPECT_EQ(find("a"), second.recording.get());
  EXPECT_EQ(keys_.size(), 1U);
}

TEST_F(Keys, AreAtMost1024AndTheOldestGoes) {
  for (int i = 0; i < 1025; ++i) note(std::to_string(i));
  EXPECT_EQ(keys_.size(), 1024U);
  EXPECT_EQ(find("0"), nullptr);
  EXPECT_NE(find("1"), nullptr);
}

TEST_F(Keys, ThatAreOverGoBeforeTheOldest) {
  const Recorded oldest = note("oldest");
  end("over", note("over"));
  for (int i = 0; i < 1022; ++i) note(std::to_string(i));
  now_ += 120s;
  note("newest");
  EXPECT_EQ(find("oldest"), oldest.recording.get());
  EXPECT_EQ(find("over"), nullptr);
}

TEST_F(Keys, HoldAtMostFourMebibytes) {
  for (int i = 0; i < 100; ++i) {
    const std::string id = std::to_string(i);
    const Recorded recorded = note(id);
    for (int piece = 0; piece < 100; ++piece) {
      if (recorded.recording->append(RecordedPiece::Kind::kText, std::string(1000, 'x')))
        keys_.update(id, *recorded.recording);
      ASSERT_LE(keys_.bytes(), size_t{4} << 20);
    }
  }
  EXPECT_EQ(find("0"), nullptr);
  EXPECT_NE(find("99"), nullptr);
  const Recorded huge = note("huge");
  huge.recording->append(RecordedPiece::Kind::kText, std::string(size_t{5} << 20, 'x'));
  keys_.update("huge", *huge.recording);
  EXPECT_EQ(find("huge"), nullptr);
  EXPECT_LE(keys_.bytes(), size_t{4} << 20);
}

}  // namespace
}  // namespace bailian
