#include "base/json.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <new>
#include <string>
#include <vector>

#include "harness/sanitized.h"

namespace bailian {
namespace {

struct BadJson {
  const char* name;
  std::string text;
  std::string what;
  size_t offset;
};

class JsonFaults : public testing::TestWithParam<BadJson> {};

TEST_P(JsonFaults, AreNamedWithTheirPlace) {
  JsonDocument document;
  const auto fault = parse_json(GetParam().text, document);
  ASSERT_TRUE(fault.has_value());
  EXPECT_NE(fault->what.find(GetParam().what), std::string::npos) << fault->what;
  EXPECT_EQ(fault->offset_bytes, GetParam().offset);
}

INSTANTIATE_TEST_SUITE_P(
    Json, JsonFaults,
    testing::Values(BadJson{"Empty", "", "empty", 0}, BadJson{"Blank", "  \n", "empty", 3},
                    BadJson{"Cut", R"({"a":1)", "comma", 6}, BadJson{"SecondValue", "{} {}", "root", 3},
                    BadJson{"Garbage", "{}x", "root", 2},
                    BadJson{"NulAfter", std::string("{}\0", 3), "NUL", 2},
                    BadJson{"NulAndGarbage", std::string("{}\0{", 4), "NUL", 2},
                    BadJson{"NulInside", std::string("{\0}", 3), "name", 1},
                    BadJson{"BadUtf8", "{\"a\":\"\xff\"}", "encoding", 6},
                    BadJson{"OverlongUtf8", "{\"a\":\"\xc0\xaf\"}", "encoding", 6},
                    BadJson{"LoneSurrogate", R"({"a":"\ud800"})", "surrogate", 6},
                    BadJson{"Utf16", std::string("{\0\"\0", 4), "name", 1},
                    BadJson{"HugeNumber", "[1e999]", "Number", 1},
                    BadJson{"RawControl", "[\"\n\"]", "escape", 2},
                    BadJson{"SecondHalfAlone", R"(["\udc4b"])", "surrogate", 2},
                    BadJson{"SecondHalfTwice", R"(["\uD83D\uDC4B\uDC4B"])", "surrogate", 14},
                    BadJson{"CutBehindFirstHalf", R"(["\ud83d)", "surrogate", 2},
                    BadJson{"CutSecondHalf", R"(["\uD83D\uD)", "Incorrect hex", 2},
                    BadJson{"TooDeep", std::string(65, '['), "nested deeper than 64", 64}),
    [](const auto& test) { return test.param.name; });

TEST(Json, SixtyFourLevelsAreRead) {
  JsonDocument document;
  EXPECT_FALSE(parse_json(std::string(64, '[') + std::string(64, ']'), document));
}

TEST(Json, BracketsInStringsAreNoNesting) {
  JsonDocument document;
  EXPECT_FALSE(parse_json("[\"" + std::string(500, '[') + "\\\"" + std::string(500, '{') + "\"]", document));
}

TEST(Json, PairsOfSurrogatesAndEscapedBackslashesAreRead) {
  JsonDocument document;
  ASSERT_FALSE(parse_json(R"(["\ud83d\udc4b \\udc4b"])", document));
  EXPECT_EQ(as_view(document[0]), "👋 \\udc4b");
}

TEST(Json, DeepNestingOfAMillionLevelsIsRefusedWithoutHarm) {
  JsonDocument document;
  EXPECT_TRUE(parse_json(std::string(1000000, '['), document));
}

TEST(Json, AByteOrderMarkIsSkipped) {
  JsonDocument document;
  EXPECT_FALSE(parse_json("\xef\xbb\xbf{\"a\":1}", document));
  EXPECT_NE(find_member(document, "a"), nullptr);
}

TEST(Json, OfRepeatedMembersTheLastCounts) {
  JsonDocument document;
  ASSERT_FALSE(parse_json(R"({"a":1,"a":2})", document));
  EXPECT_EQ(find_member(document, "a")->GetInt(), 2);
  EXPECT_EQ(find_member(document, "b"), nullptr);
}

TEST(Json, ATextThatEndsInMidCharacterIsNoUtf8WhateverFollowsIt) {
  constexpr std::string_view kText = "a 杭 👋";
  EXPECT_TRUE(is_utf8(kText));
  EXPECT_TRUE(is_utf8(""));
  for (const size_t size : {3U, 4U, 7U, 8U, 9U}) EXPECT_FALSE(is_utf8(kText.substr(0, size))) << size;
}

TEST(Json, IsWrittenAsRawUtf8) {
  JsonDocument document;
  ASSERT_FALSE(parse_json(R"({"a":"\u676d\u5dde \ud83d\udc4b\u2028\u0001"})", document));
  EXPECT_EQ(to_json(document), "{\"a\":\"杭州 👋\xe2\x80\xa8\\u0001\"}");
}

TEST(JsonMemory, IsNoneForNothing) {
  JsonAllocator allocator;
  EXPECT_EQ(allocator.Malloc(0), nullptr);
  void* const block = allocator.Malloc(1);
  EXPECT_NE(block, nullptr);
  EXPECT_EQ(allocator.Realloc(block, 1, 0), nullptr);
}

TEST(JsonMemory, ThatCannotBeHadIsAnException) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer ends the program instead";
  constexpr size_t kTooMuch = PTRDIFF_MAX;
  JsonAllocator allocator;
  EXPECT_THROW(allocator.Malloc(kTooMuch), std::bad_alloc);
  void* const block = allocator.Malloc(1);
  EXPECT_THROW(allocator.Realloc(block, 1, kTooMuch), std::bad_alloc);
  JsonAllocator::Free(block);
}

TEST(Utf8, IsToldFromOtherBytes) {
  for (const std::string& text :
       {std::string(), std::string("a\0b", 3), std::string("é你👋\xf4\x8f\xbf\xbf")}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  for (const char* text :
       {"\xff", "a\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc4\xe3\xba\xc3"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

TEST(Utf8, IsCheckedAtEveryPlaceOfALongText) {
  const std::string ascii(24, 'a');
  for (size_t at = 0; at <= ascii.size(); ++at) {
    EXPECT_TRUE(is_utf8(std::string(ascii).insert(at, "你é"))) << at;
    EXPECT_FALSE(is_utf8(std::string(ascii).insert(at, "é\xe4"))) << at;
  }
}

TEST(Utf8, IsNotReadBehindItsEnd) {
  const std::string text = "é你👋";
  for (size_t size = 0; size <= text.size(); ++size) {
    const std::vector<char> exact(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size));
    const bool whole = size == 0 || size == 2 || size == 5 || size == 9;
    EXPECT_EQ(is_utf8({exact.data(), exact.size()}), whole) << size;
  }
}

}  // namespace
}  // namespace bailian
