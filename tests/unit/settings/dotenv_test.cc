#include "settings/dotenv.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace bailian {
namespace {

struct Line {
  const char* name;
  std::string text;
  std::string key;
  std::string value;
};

class DotenvLines : public testing::TestWithParam<Line> {};

TEST_P(DotenvLines, AreReadAsPythonDotenvReadsThem) {
  const Dotenv dotenv = parse_dotenv(GetParam().text);
  EXPECT_TRUE(dotenv.faults.empty());
  ASSERT_EQ(dotenv.entries.size(), 1U);
  EXPECT_EQ(dotenv.entries[0].key, GetParam().key);
  EXPECT_EQ(dotenv.entries[0].value, GetParam().value);
}

INSTANTIATE_TEST_SUITE_P(
    Dotenv, DotenvLines,
    testing::Values(
        Line{"Plain", "A=b", "A", "b"}, Line{"Empty", "A=", "A", ""},
        Line{"EveryKindOfKeyCharacter", "aZ_0.9=b", "aZ_0.9", "b"}, Line{"Export", "export A=b", "A", "b"},
        Line{"ExportTab", "export\tA=b", "A", "b"}, Line{"AVariableCalledExport", "export=b", "export", "b"},
        Line{"Spaces", "  A = b c  ", "A", "b c"}, Line{"Comment", "A=b # c", "A", "b"},
        Line{"HashInside", "A=b#c", "A", "b#c"}, Line{"OnlyComment", "A= # c", "A", ""},
        Line{"HashAtOnce", "A=#c", "A", ""}, Line{"CarriageReturn", "A=b\r\n", "A", "b"},
        Line{"SingleQuotes", R"(A='b # "c" \n $D')", "A", R"(b # "c" \n $D)"},
        Line{"DoubleQuotes", R"(A="b # \"c\" \n\t\\ $D" # e)", "A", "b # \"c\" \n\t\\ $D"},
        Line{"UnknownEscape", R"(A="\x")", "A", R"(\x)"},
        Line{"EveryEscapeOfDoubleQuotes", R"(A="\a\b\f\n\r\t\v\"\'\\")", "A", "\a\b\f\n\r\t\v\"'\\"},
        Line{"TheEscapesOfSingleQuotes", R"(A='It\'s a \\ shop')", "A", R"(It's a \ shop)"},
        Line{"Dash", "MY-FLAG=1", "MY-FLAG", "1"}, Line{"OtherCharacters", "A{[:./=x", "A{[:./", "x"},
        Line{"ExportOfAVariableCalledExport", "export export=b", "export", "b"},
        Line{"TwoLines", "A=\"b\nc\"", "A", "b\nc"}, Line{"EqualsInValue", "A=b=c==", "A", "b=c=="},
        Line{"ByteOrderMark",
             "\xef\xbb\xbf"
             "A=b",
             "A", "b"},
        Line{"Chinese", "A=你好 吗", "A", "你好 吗"}),
    [](const auto& test) { return test.param.name; });

TEST(Dotenv, EntriesKnowTheirLine) {
  const Dotenv dotenv = parse_dotenv("# one\n\nA=1\nB='x\ny'\nC=2\n");
  ASSERT_EQ(dotenv.entries.size(), 3U);
  EXPECT_EQ(dotenv.entries[0].line, 3);
  EXPECT_EQ(dotenv.entries[1].line, 4);
  EXPECT_EQ(dotenv.entries[2].line, 6);
}

TEST(Dotenv, AFaultyLineIsNamedAndTheOthersCount) {
  const Dotenv dotenv = parse_dotenv("A=1\nplain nonsense\n=x\nB='x' y\nC=3\nD=\"never closed\n");
  ASSERT_EQ(dotenv.faults.size(), 4U);
  EXPECT_EQ(dotenv.faults[0].line, 2);
  EXPECT_EQ(dotenv.faults[1].line, 3);
  EXPECT_EQ(dotenv.faults[2].line, 4);
  EXPECT_EQ(dotenv.faults[3].line, 6);
  EXPECT_EQ(dotenv.faults[0].reason, "the line is not of the form KEY=value");
  EXPECT_EQ(dotenv.faults[2].reason, "there is text after the closing quote");
  EXPECT_EQ(dotenv.faults[3].reason, "the quote (\") is not closed");
  ASSERT_EQ(dotenv.entries.size(), 2U);
  EXPECT_EQ(dotenv.entries[1].key, "C");
}

TEST(Dotenv, ANameAloneHasNoValue) {
  for (const char* text : {"APP_NAME\n", "export APP_NAME", "  export\tAPP_NAME  # exported\r\n"}) {
    const Dotenv dotenv = parse_dotenv(text);
    EXPECT_TRUE(dotenv.faults.empty()) << text;
    ASSERT_EQ(dotenv.entries.size(), 1U) << text;
    EXPECT_EQ(dotenv.entries[0].key, "APP_NAME");
    EXPECT_FALSE(dotenv.entries[0].value.has_value());
  }
}

TEST(Dotenv, VariablesAreExpandedAsPythonDotenvDoes) {
  const auto find = [](const std::string& name) -> std::optional<std::string> {
    if (name == "KEY") return "value";
    if (name == "EMPTY") return "";
    return std::nullopt;
  };
  const std::pair<const char*, const char*> table[] = {
      {"${KEY}", "value"},
      {"a ${KEY}${KEY} b", "a valuevalue b"},
      {"${EMPTY:-other}", ""},
      {"${NONE:-other}", "other"},
      {"${NONE:-}", ""},
      {"$KEY", "$KEY"},
      {"${KEY", "${KEY"},
      {"$${KEY}", "$value"},
      {"${KEY:?}", "${KEY:?}"},
      {"${NONE:-${KEY}}", "${KEY}"},
      {"", ""},
      {"$", "$"},
  };
  for (const auto& [text, expanded] : table) {
    std::vector<std::string> missing;
    EXPECT_EQ(expand_variables(text, find, missing), expanded) << text;
    EXPECT_TRUE(missing.empty()) << text;
  }
  std::vector<std::string> missing;
  EXPECT_EQ(expand_variables("a${ONE}b${TWO}", find, missing), "ab");
  EXPECT_EQ(missing, (std::vector<std::string>{"ONE", "TWO"}));
}

TEST(Dotenv, VariablesThatGrowWithoutEndAreRefused) {
  std::vector<std::string> missing;
  const auto find = [](const std::string&) { return std::optional(std::string(kMaxExpandedBytes / 2, 'x')); };
  EXPECT_EQ(expand_variables("${A}${A}", find, missing).value().size(), kMaxExpandedBytes);
  EXPECT_EQ(expand_variables("${A}${A}${A}", find, missing), std::nullopt);
}

TEST(Dotenv, AnyBytesAreReadWithoutHarm) {
  std::minstd_rand random(1);
  const std::string alphabet("A=b'\"\\\n\r #\0\xff\xef", 13);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (auto length = random() % 24; length > 0; --length) text += alphabet[random() % alphabet.size()];
    parse_dotenv(text);
  }
}

TEST(DotenvLine, IsReadBackAsItWas) {
  for (const char* value :
       {"", "plain", "two words", " ends ", "a # b", "#", "'", "\"", "it's \"so\"", "\\", "\\n", "\n",
        "a\nb\r\nc\td", "$HOME ${HOME}", "${A}\n'b' \\ \t\"c\"", "你好", "a=b", "\x01\x7f"}) {
    const Dotenv read = parse_dotenv("A=1\n" + dotenv_line("KEY", value) + "B=2\n");
    EXPECT_TRUE(read.faults.empty()) << value;
    ASSERT_EQ(read.entries.size(), 3U) << value;
    EXPECT_EQ(read.entries[1].key, "KEY");
    EXPECT_EQ(read.entries[1].value, value);
    EXPECT_TRUE(read.entries[1].is_literal || read.entries[1].value->find("${") == std::string::npos)
        << value;
  }
}

}  // namespace
}  // namespace bailian
