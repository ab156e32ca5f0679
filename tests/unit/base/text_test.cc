#include "base/text.h"

#include <gtest/gtest.h>

#include <string>

#include "base/json.h"

namespace bailian {
namespace {

TEST(Text, ControlCharactersAreSpaces) {
  EXPECT_EQ(printable("a\r\n\tb\x1b[2J\x7f"), "a   b [2J ");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m\xc2\x80\xc2\x9f"),
            " 31m  ")
      << "C1";
  EXPECT_EQ(printable("a\u202eb\u2066c\u2069\u200f\u061c"), "a b c   ") << "directions";
  EXPECT_EQ(printable("a\u2028b\u2029"), "a b ") << "separators";
}

TEST(Text, OtherCharactersStay) {
  for (const std::string text :
       {"plain ~", "杭州 🌊", "\u00a0é", "\u200d", "\u2030", "\u2065", "\u206a", "Ø", "ؠ", "߿"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Text, BytesThatAreNoTextAreQuestionMarks) {
  EXPECT_EQ(printable("a\x9b"
                      "31m"),
            "a?31m");
  EXPECT_EQ(printable("\xff\xfe"), "??");
  EXPECT_EQ(printable("\xc0\x80"), "??") << "overlong";
  EXPECT_EQ(printable("\xed\xa0\x80"), "???") << "half a surrogate pair";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????") << "beyond the last character";
  EXPECT_EQ(printable("\xe6\x9d"), "??") << "cut";
  EXPECT_EQ(printable("\xc2"), "?");
}

TEST(Text, AllPairsOfBytesBecomeOneLineOfText) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string text = {static_cast<char>(first), static_cast<char>(second)};
      const std::string line = printable(text);
      EXPECT_TRUE(is_utf8(line)) << first << " " << second;
      for (size_t at = 0; at < line.size(); ++at) EXPECT_EQ(control_character_bytes(line.substr(at)), 0U);
    }
  }
}

TEST(Text, ListsAreSplitAndTrimmed) {
  std::string_view rest = "a, b ,,c";
  std::string items;
  while (!rest.empty()) items.append("[").append(trim(split_off(rest, ','))) += ']';
  EXPECT_EQ(items, "[a][b][][c]");
  EXPECT_EQ(split_off(rest, ','), "");
  EXPECT_EQ(trim(" \t\r\n\v\f"), "");
  EXPECT_EQ(trim("/a/ b//", "/"), "a/ b");
}

TEST(Text, CharactersAreThoseOfAscii) {
  EXPECT_EQ(to_lower("ABC-xyz_\u00c4"), "abc-xyz_\u00c4");
  EXPECT_TRUE(is_visible_ascii("!~"));
  for (const char* text : {"a b", "a\n", "\x7f", "\u00e9"}) EXPECT_FALSE(is_visible_ascii(text)) << text;
  EXPECT_TRUE(is_web_url("https://a") && is_web_url("http://a"));
  EXPECT_FALSE(is_web_url("ftp://a") || is_web_url("https:/a"));
}

TEST(Text, PrefixesEndBetweenCharacters) {
  EXPECT_EQ(utf8_prefix("\u676d\u5dde", 5), "\u676d");
  EXPECT_EQ(utf8_prefix("\u676d\u5dde", 6), "\u676d\u5dde");
  EXPECT_EQ(utf8_prefix("\u676d", 2), "");
}

TEST(Text, ByteOrderMarksAreRecognised) {
  EXPECT_EQ(without_bom("\xef\xbb\xbfx"), "x");
  EXPECT_EQ(without_bom("x"), "x");
  for (const std::string_view text : {std::string_view("\xff\xfe"), std::string_view("\xfe\xff"),
                                      std::string_view("a\0", 2), std::string_view("\0a", 2)})
    EXPECT_TRUE(is_utf16(text));
  EXPECT_FALSE(is_utf16("a"));
}

}  // namespace
}  // namespace bailian
