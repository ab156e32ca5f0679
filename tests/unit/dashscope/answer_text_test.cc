#include "dashscope/answer_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/sanitized.h"
#include "unit/heap.h"

namespace bailian {
namespace {

struct Told {
  std::vector<std::string> after;  // the text returned for each piece
  std::string text;
  bool is_contradictory = false;
};

Told told(const std::vector<std::string>& pieces) {
  AnswerText text;
  Told told;
  for (size_t i = 0; i < pieces.size(); ++i) {
    told.after.emplace_back(text.take(pieces[i], i + 1 == pieces.size()));
    told.text += told.after.back();
  }
  told.is_contradictory = text.is_contradictory();
  return told;
}

struct Pieces {
  const char* name;
  std::vector<std::string> pieces;  // the last has the finish reason
  std::string text;
};
class AnswerPieces : public testing::TestWithParam<Pieces> {};

TEST_P(AnswerPieces, AddUpToTheText) {
  const Told all = told(GetParam().pieces);
  EXPECT_EQ(all.text, GetParam().text);
  EXPECT_FALSE(all.is_contradictory);
}

std::string named(const testing::TestParamInfo<Pieces>& test) { return test.param.name; }

INSTANTIATE_TEST_SUITE_P(
    Increments, AnswerPieces,
    testing::Values(
        Pieces{"None", {""}, ""}, Pieces{"OnlyTheLast", {"a"}, "a"},
        Pieces{"Plain", {"a", "b", "c", ""}, "abc"}, Pieces{"LastHasText", {"a", "b", "c"}, "abc"},
        Pieces{"RepeatAWord", {"ha", "ha", "ha", ""}, "hahaha"},
        Pieces{"SecondBeginsWithTheFirst", {"1", "10", "0", ""}, "1100"},
        Pieces{"SecondBeginsWithTheFirstAtTheEnd", {"1", "10", ""}, "110"},
        Pieces{"ThirdIsTheSecond", {"a", "ab", "ab", ""}, "aabab"},
        Pieces{"EmptyBetween", {"a", "", "ab", "abc", ""}, "aababc"},
        Pieces{"Laughter", {"哈", "哈哈", "哈哈哈", "，好笑", ""}, "哈哈哈哈哈哈，好笑"},
        Pieces{"PowersOfTen", {"1", "10", "100", ""}, "110100"},
        Pieces{"PowersOfTenAndMore", {"1", "10", "100", " apples", ""}, "110100 apples"},
        Pieces{"PowersOfTenAndMoreAtTheEnd", {"1", "10", "100", " apples"}, "110100 apples"},
        Pieces{"FourThatNest", {"1", "10", "100", "1000", ""}, "1101001000"},
        Pieces{"ThatNestStandStill", {"1", "10", "100", "100", " a", ""}, "110100100 a"},
        Pieces{"LongLaughterIsMended",
               {"哈", "哈哈", "哈哈哈", "哈哈哈哈", "哈哈哈哈哈", "，好笑", ""},
               "哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈，好笑"},
        Pieces{"LongLaughterIsMendedAtTheEnd",
               {"哈", "哈哈", "哈哈哈", "哈哈哈哈", "哈哈哈哈哈", "！"},
               "哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈！"},
        Pieces{"RulersOfDashes",
               {"----------------", "----------------\n", "- one\n", ""},
               "--------------------------------\n- one\n"},
        Pieces{"LastRepeatsAll", {"a", "b", "c", "abc"}, "abc"},
        Pieces{"LastRepeatsAllAndGoesOn", {"a", "b", "c", "abcd"}, "abcd"},
        Pieces{"ThatNestAndLastRepeatsAll", {"哈", "哈哈", "，好笑", "哈哈哈，好笑"}, "哈哈哈，好笑"},
        Pieces{"LastRepeatsAllThatIsHeld", {"1", "10", "110"}, "110"},
        Pieces{"LastRepeatsAPart", {"a", "b", "ab", "c", "ab"}, "ababcab"}),
    named);

INSTANTIATE_TEST_SUITE_P(
    Cumulative, AnswerPieces,
    testing::Values(
        Pieces{"OfOne", {"a", "a"}, "a"}, Pieces{"OfTwo", {"a", "ab"}, "ab"},
        Pieces{"OfThree", {"a", "ab", "abc"}, "abc"}, Pieces{"Short", {"a", "ab", "abc", "abc"}, "abc"},
        Pieces{"StandingStill", {"a", "ab", "abc", "abc", "abcd", "abcd"}, "abcd"},
        Pieces{"LongWithEmptyEnd",
               {"春", "春眠不觉晓，", "春眠不觉晓，处处闻啼鸟。", ""},
               "春眠不觉晓，处处闻啼鸟。"},
        Pieces{"FiveWithEmptyEnd", {"a", "ab", "abc", "abcd", "abcde", ""}, "abcde"},
        Pieces{"EmptyBetween", {"a", "ab", "", "abc", "abcd", "", "abcde", "abcdef", "abcdef"}, "abcdef"}),
    named);

TEST(AnswerText, IncrementsAreToldWithTheirEvent) {
  EXPECT_EQ(told({"a", "b", "c", ""}).after, (std::vector<std::string>{"a", "b", "c", ""}));
  EXPECT_EQ(told({"a", "a", "ab", ""}).after, (std::vector<std::string>{"a", "a", "ab", ""}));
}

TEST(AnswerText, ThatMayBeCumulativeIsHeldUntilItIsNot) {
  EXPECT_EQ(told({"1", "10", "100", "x", ""}).after, (std::vector<std::string>{"1", "", "", "10100x", ""}));
}

TEST(AnswerText, LongCumulativeTextIsToldFromTheThirdPieceOn) {
  const std::string start(20, 'x');
  EXPECT_EQ(told({start, start + "1", start + "12", start + "123", start + "123"}).after,
            (std::vector<std::string>{start, "", "12", "3", ""}));
}

TEST(AnswerText, ThatWasTakenBackIsContradictory) {
  EXPECT_TRUE(told({"once upon a time", "once upon a time there", "once upon a time there was", "x", ""})
                  .is_contradictory);
  EXPECT_TRUE(told({"a", "ab", "abc", "abcd", "abcde", "x"}).is_contradictory);
}

TEST(AnswerText, ReleasesWhatIsHeldOnce) {
  AnswerText text;
  EXPECT_EQ(text.take("1", false), "1");
  EXPECT_EQ(text.take("10", false), "");
  EXPECT_EQ(text.release(), "10");
  EXPECT_EQ(text.release(), "");
}

TEST(AnswerText, WorkflowMessagesAreToldAndTheFinalTextIsNotSaidTwice) {
  AnswerText text;
  EXPECT_EQ(text.take_message("a"), "a");
  EXPECT_EQ(text.take_message("ab"), "ab");
  EXPECT_EQ(text.take("aabc", true), "c");
}

TEST(AnswerText, AWorkflowsTextThatIsHeldComesBeforeItsMessages) {
  AnswerText text;
  EXPECT_EQ(text.take("1", false), "1");
  EXPECT_EQ(text.take("10", false), "");
  EXPECT_EQ(text.take_message("x"), "10x");
}

// Short texts of few characters, in which pieces often nest by chance: returned text is never contradicted,
// and an answer that could only have been increments is returned as such.
TEST(AnswerText, IsTheTextOfTheIncrementsWheneverThatCanBeKnown) {
  unsigned seed = 1;
  const auto random = [&seed] { return (seed = seed * 1103515245 + 12345) >> 16; };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> pieces;
    for (size_t i = random() % 8 + 1; i > 0; --i) pieces.emplace_back(random() % 4, 'x');
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces.emplace_back("y");
    pieces.emplace_back();
    const Told result = told(pieces);
    ASSERT_FALSE(result.is_contradictory);
    ASSERT_EQ(result.text, all + "y");
  }
}

TEST(AnswerText, KeepsNoLongTextOnceItKnowsTheKind) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = 100'000;
  const std::string once(kBytes, 'x');
  const std::string twice = once + once;
  const std::string thrice = twice + once;
  const std::string other(kBytes, 'y');
  for (const auto& rest : {std::vector{&other}, std::vector{&twice, &thrice}}) {
    AnswerText text;
    const size_t before = allocated_bytes();
    EXPECT_EQ(text.take(once, false), once);
    EXPECT_GT(allocated_bytes(), before + kBytes / 2);
    for (const std::string* piece : rest) text.take(*piece, false);
    EXPECT_LT(allocated_bytes(), before + kBytes / 2) << rest.size();
  }
}

}  // namespace
}  // namespace bailian
