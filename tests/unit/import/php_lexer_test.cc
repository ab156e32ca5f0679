#include "import/php_lexer.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

/// Every token in square brackets, strings with their quotes, variables within them with their $.
std::string tokens(std::string_view php) {
  std::string all;
  for (const PhpToken& token : read_php_tokens(php)) {
    switch (token.kind) {
      case PhpToken::Kind::kVariable:
        all += "[$" + std::string(token.text) + "]";
        break;
      case PhpToken::Kind::kWord:
      case PhpToken::Kind::kNumber:
      case PhpToken::Kind::kPunctuation:
        all += "[" + std::string(token.text) + "]";
        break;
      case PhpToken::Kind::kString:
        all += "['";
        for (const PhpStringPart& part : token.parts)
          all += part.is_variable ? "${" + part.text + "}" : part.text;
        all += "']";
        break;
      case PhpToken::Kind::kEnd:
        break;
    }
  }
  return all;
}

std::string fault(std::string_view php) {
  try {
    read_php_tokens(php);
  } catch (const PhpError& error) {
    return error.what();
  }
  return "none";
}

TEST(PhpTokens, AreWordsNumbersAndSigns) {
  EXPECT_EQ(tokens("$a=foo( .5, 1_000,0x1F ,1e-3)=>\\A\\b?->c;"),
            "[$a][=][foo][(][.5][,][1_000][,][0x1F][,][1e-3][)][=>][\\A\\b][?->][c][;]");
  EXPECT_EQ(tokens("$变量::x"), "[$变量][::][x]");
}

TEST(PhpTokens, LeaveOutWhatIsNoPhp) {
  EXPECT_EQ(tokens("<p>it's</p><?php $a ?> don't <?= $b ?>\n"), "[$a][;][$b][;]");
  EXPECT_EQ(tokens("\xef\xbb\xbf<?php $a"), "[$a]");
  EXPECT_EQ(tokens("$a ?> don't <?php $b"), "[$a][;][$b]");
  EXPECT_EQ(tokens("<?php\n// it's ?> it's <?php $a # it's\n/* it's */ $b #[A]"), "[;][$a][$b][#][[][A][]]");
}

TEST(PhpTokens, SingleQuotesKnowTwoEscapes) {
  EXPECT_EQ(tokens(R"('it\'s \\ \n $a {$b}')"), R"(['it's \ \n $a {$b}'])");
  EXPECT_EQ(tokens("''"), "['']");
}

TEST(PhpTokens, DoubleQuotesKnowEscapes) {
  EXPECT_EQ(tokens(R"("a\tb\n\"\$x\\\q\101\x42\u{4f60}\u{1F600}\'")"), "['a\tb\n\"$x\\\\qAB你😀\\'']");
}

TEST(PhpTokens, StringsNameTheirVariables) {
  EXPECT_EQ(tokens(R"("a $b c {$d}e{$f->g} $this->h.")"), "['a ${b} c ${d}e${f->g} ${this->h}.']");
  EXPECT_EQ(tokens(R"("{$a["k"]} $b[0] ${c} {$d->e()} $5 { $")"), "['${} ${} ${} ${} $5 { $']");
  EXPECT_EQ(tokens("`ls $a`"), "['${}']");
}

TEST(PhpTokens, HeredocsLoseTheirIndent) {
  EXPECT_EQ(tokens("<<<A\n  one $x\n\n    two\\t\n  A;"), "['one ${x}\n\n  two\t'][;]");
  EXPECT_EQ(tokens("<<<'A'\none $x\\t\nABC\nA . 'b'"), "['one $x\\t\nABC'][.]['b']");
  EXPECT_EQ(tokens("<<< \"A\"\r\none\r\nA\r\n;"), "['one'][;]");
  EXPECT_EQ(tokens("<<<A\nA"), "['']");
}

TEST(PhpTokens, FaultsNameTheirLine) {
  EXPECT_EQ(fault("\n\n'abc"), "line 3: the string that begins here does not end");
  EXPECT_EQ(fault("\n\"abc\\\""), "line 2: the string that begins here does not end");
  EXPECT_EQ(fault("\n\"{$a \""), "none");
  EXPECT_EQ(fault("/* a"), "line 1: the comment that begins here does not end");
  EXPECT_EQ(fault("<<<A\x9b\nB"), "line 1: the heredoc that begins here does not end");
  EXPECT_EQ(fault("(\n[\n)"), "line 3: the \")\" closes nothing");
  EXPECT_EQ(fault("{\n{\n}"), "line 1: the \"{\" is never closed");
  EXPECT_EQ(fault("}"), "line 1: the \"}\" closes nothing");
  EXPECT_EQ(fault(std::string(kMaxPhpDepth, '(') + std::string(kMaxPhpDepth, ')')), "none");
  EXPECT_EQ(fault(std::string(kMaxPhpDepth + 1, '(')), "line 1: nested deeper than 64");
  EXPECT_EQ(fault(std::string(kMaxPhpBytes + 1, ' ')), "longer than 1048576 bytes");
}

}  // namespace
}  // namespace bailian
