#include "base/key_mask.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

constexpr std::string_view kKey = "sk-abcabcabd0";

std::string masked(std::string_view text, size_t step, std::string_view key = kKey) {
  KeyMask mask(key);
  std::string shown;
  for (size_t at = 0; at < text.size(); at += step) shown += mask.feed(text.substr(at, step));
  shown += mask.finish();
  return shown;
}

// Without the part of the key that may have been shown before the rest of it arrived.
std::string without_starts(std::string text) {
  for (size_t at = 0; (at = text.find("***", at)) != std::string::npos;) {
    const std::string_view before = std::string_view(text).substr(0, at);
    size_t start = 3;
    while (!before.ends_with(kKey.substr(0, start))) --start;
    text.erase(at - start, start);
    at += 3 - start;
  }
  return text;
}

struct Text {
  const char* name;
  std::string text;
  std::string shown;  // in one piece
};
class MaskedTexts : public testing::TestWithParam<Text> {};

TEST_P(MaskedTexts, ShowNoKeyCutAnywhere) {
  const auto& [name, text, shown] = GetParam();
  EXPECT_EQ(masked(text, text.size() + 1), shown);
  for (size_t step = 1; step <= text.size(); ++step) {
    const std::string result = masked(text, step);
    EXPECT_EQ(result.find(kKey), std::string::npos) << "in steps of " << step;
    EXPECT_EQ(without_starts(result), without_starts(shown)) << "in steps of " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(KeyMask, MaskedTexts,
                         testing::Values(Text{"None", "nothing of it, sk- or so", "nothing of it, sk- or so"},
                                         Text{"Empty", "", ""}, Text{"Alone", std::string(kKey), "***"},
                                         Text{"Within", "the key is " + std::string(kKey) + ", 真的",
                                              "the key is ***, 真的"},
                                         Text{"Twice", std::string(kKey) + std::string(kKey), "******"},
                                         Text{"Begun", "sk-abcabc", "sk-abcabc"},
                                         Text{"BegunAndBegunAgain", "sk-absk-abcabcabd0x", "sk-ab***x"},
                                         Text{"BegunTwice", "sk-sk-xsk-abcabcabd0", "sk-sk-x***"},
                                         Text{"AllButTheLast", "sk-abcabcabdX", "sk-abcabcabdX"}),
                         [](const auto& test) { return test.param.name; });

TEST(KeyMask, HoldsBackNothingButWhatMayBecomeTheKey) {
  KeyMask mask(kKey);
  EXPECT_EQ(mask.feed("this is"), "this is");
  EXPECT_EQ(mask.feed("k-"), "k-");
  EXPECT_EQ(mask.feed("abc"), "");
  EXPECT_EQ(mask.feed("d"), "abcd");
  EXPECT_EQ(mask.feed("sk-abc"), "sk-");
  EXPECT_EQ(mask.finish(), "abc");
}

TEST(KeyMask, AShortOrMissingKeyMasksNothing) {
  EXPECT_EQ(masked("no key at all", 1, ""), "no key at all");
  EXPECT_EQ(masked("no key at all", 1, "key"), "no key at all");
}

TEST(KeyMask, AValueThatShowsTheKeyIsTold) {
  EXPECT_TRUE(shows_key("x" + std::string(kKey), kKey));
  EXPECT_FALSE(shows_key("sk-abc", kKey));
  EXPECT_FALSE(shows_key("x", ""));
  EXPECT_EQ(without_key("a " + std::string(kKey) + " b", kKey), "a *** b");
  EXPECT_EQ(without_key("a sk-abcabc", kKey), "a sk-") << "the rest may have been cut off";
}

TEST(Scrub, LeavesOneShortLineOfAnything) {
  EXPECT_EQ(scrub("a\r\nb\x1b[2J\x7f", ""), "a  b [2J ");
  std::string keys;
  while (keys.size() < (4U << 20)) keys += "sk-aaaaaaaa ";
  EXPECT_LE(scrub(keys, "").size(), 500U);
}

TEST(Scrub, RemovesKeysAndCutsAtACharacter) {
  EXPECT_EQ(scrub("sk-abcdefgh sk-abcdefghi", "sk-abcdefgh"), "*** ***i");
  EXPECT_EQ(scrub("ask-me", "k"), "as***-me");
  EXPECT_EQ(scrub("secret-secret-sk", "secret-sk"), "secret-***");
  EXPECT_EQ(scrub("a sk-short b", ""), "a sk-*** b");
  EXPECT_EQ(scrub("a sk-1 b", ""), "a sk-1 b");
  EXPECT_EQ(scrub("a sk-ab-cd_ef.g", ""), "a sk-***.g");
  std::string long_text(499, 'x');
  EXPECT_EQ(scrub(long_text + "杭", ""), long_text);
}

TEST(Scrub, ShowsNoStartOfAKeyThatALongTextIsCutIn) {
  constexpr std::string_view kOther = "secret-0123456789";
  for (size_t before = 8170; before < 8192; ++before) {
    const std::string text = "sk-" + std::string(before - 4, 'a') + " " + std::string(kOther) + " more";
    EXPECT_EQ(scrub(text, kOther).find("secret"), std::string::npos) << before;
  }
}

}  // namespace
}  // namespace bailian
