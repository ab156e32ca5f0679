#include "chat/answer_recording.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bailian {
namespace {

using Kind = RecordedPiece::Kind;
using State = AnswerRecording::State;

std::string read_all(RecordingCursor& cursor) {
  std::string all;
  while (const auto piece = cursor.next())
    all += std::to_string(static_cast<int>(piece->kind)) + ":" + std::string(piece->text) + ";";
  return all;
}

class Recordings : public testing::Test {
 protected:
  EventLoop loop_{std::chrono::nanoseconds::zero()};
  Recorded recorded_ = start_recording(loop_);
};

TEST_F(Recordings, AreReadInThePiecesTheyCameIn) {
  RecordingCursor cursor(recorded_.start);
  EXPECT_FALSE(cursor.next());
  recorded_.recording->append(Kind::kSession, "s");
  recorded_.recording->append(Kind::kThought, "hm");
  EXPECT_EQ(read_all(cursor), "2:s;1:hm;");
  recorded_.recording->append(Kind::kText, "a");
  recorded_.recording->append(Kind::kSession, "");
  EXPECT_EQ(read_all(cursor), "0:a;2:;");
  RecordingCursor second(recorded_.start);
  EXPECT_EQ(read_all(second), "2:s;1:hm;0:a;2:;");
}

TEST_F(Recordings, HoldPiecesOfAnySize) {
  std::string expected;
  RecordingCursor behind(recorded_.start);
  for (size_t size = 1; size < 300'000; size = size * 3 + 1) {
    const std::string text(size, static_cast<char>('a' + size % 26));
    recorded_.recording->append(Kind::kText, text);
    expected += "0:" + text + ";";
  }
  EXPECT_EQ(read_all(behind), expected);
  EXPECT_LT(recorded_.recording->bytes(), 3 * expected.size());
}

TEST_F(Recordings, ThatNobodyKeepsAreFreedAsTheyAreRead) {
  RecordingCursor cursor(std::exchange(recorded_.start, nullptr));
  std::weak_ptr<const RecordingChunk> first = recorded_.recording->last_chunk();
  const std::string text(1000, 'x');
  recorded_.recording->append(Kind::kText, text);
  recorded_.recording->append(Kind::kText, text);
  EXPECT_FALSE(first.expired());
  EXPECT_TRUE(cursor.next());
  EXPECT_FALSE(first.expired());
  EXPECT_TRUE(cursor.next());
  EXPECT_TRUE(first.expired());
}

TEST_F(Recordings, AreReadWhileAnotherThreadWrites) {
  constexpr int kPieces = 20'000;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([recorded = recorded_] {
      RecordingCursor cursor(recorded.start);
      for (int i = 0; i < kPieces;) {
        const auto piece = cursor.next();
        if (!piece) continue;
        ASSERT_EQ(piece->text, std::to_string(i));
        ++i;
      }
      while (recorded.recording->state() == State::kUnderWay) std::this_thread::yield();
      EXPECT_FALSE(cursor.next());
      EXPECT_EQ(recorded.recording->end().answer.model, "m");
    });
  }
  for (int i = 0; i < kPieces; ++i) recorded_.recording->append(Kind::kText, std::to_string(i));
  RecordingEnd end;
  end.answer.model = "m";
  recorded_.recording->finish(State::kFinished, end);
  for (std::thread& reader : readers) reader.join();
}

TEST_F(Recordings, ThatNobodyReadsAreAbandonedAndNobodyCanReadThem) {
  {
    const AnswerRecording::Subscription subscription(recorded_);
    EXPECT_TRUE(subscription);
    EXPECT_FALSE(recorded_.recording->abandon_if_unread());
  }
  EXPECT_TRUE(recorded_.recording->abandon_if_unread());
  EXPECT_EQ(recorded_.recording->state(), State::kAbandoned);
  EXPECT_FALSE(AnswerRecording::Subscription(recorded_));
}

TEST_F(Recordings, AreReadAfterTheirEndOnlyIfTheyAreComplete) {
  for (const auto& [state, readable] : {std::pair{State::kFinished, true}, {State::kFailed, false}}) {
    const Recorded recorded = start_recording(loop_);
    recorded.recording->finish(state, {});
    EXPECT_EQ(static_cast<bool>(AnswerRecording::Subscription(recorded)), readable);
  }
  recorded_.recording->break_off();
  EXPECT_FALSE(AnswerRecording::Subscription(recorded_));
}

}  // namespace
}  // namespace bailian
