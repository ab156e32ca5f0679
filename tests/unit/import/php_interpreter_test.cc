#include "import/php_interpreter.h"

#include <gtest/gtest.h>

#include <string>

#include "import/php_lexer.h"

namespace bailian {
namespace {

std::string text_of(const PhpValue& value) {
  switch (value.kind) {
    case PhpValue::Kind::kUnknown:
    case PhpValue::Kind::kConstant:
      return "?" + value.why_unknown();
    case PhpValue::Kind::kNull:
      return "null";
    case PhpValue::Kind::kBool:
      return value.truth ? "true" : "false";
    case PhpValue::Kind::kNumber:
      return value.text;
    case PhpValue::Kind::kString:
      return "'" + value.text + "'";
    case PhpValue::Kind::kArray:
      break;
  }
  std::string all = "[";
  for (const PhpMember& member : value.members) {
    if (all.size() > 1) all += ",";
    all += (member.key.empty() ? "" : member.key + "=>") + text_of(member.value);
  }
  return all + "]";
}

/// Keeps the last value of each name, and the calls.
class Heard : public PhpListener {
 public:
  explicit Heard(std::string_view wanted) : wanted_(wanted) {}
  void on_named(std::string_view name, const PhpValue& value) override {
    if (name == wanted_) last = text_of(value);
  }
  void on_array(const PhpValue&) override {}
  void on_call(std::string_view name, const std::vector<PhpValue>& arguments, int line) override {
    calls += std::string(name) + "(";
    for (const PhpValue& argument : arguments) calls += text_of(argument) + " ";
    calls += ")@" + std::to_string(line) + " ";
  }
  std::string last = "not named";
  std::string calls;

 private:
  std::string_view wanted_;
};

std::string value_of(std::string_view name, std::string_view php) {
  Heard heard(name);
  follow_php(php, heard);
  return heard.last;
}
std::string calls(std::string_view php) {
  Heard heard("");
  follow_php(php, heard);
  return heard.calls;
}

TEST(PhpValues, AreFollowed) {
  const std::pair<const char*, const char*> table[] = {
      {"$a = 'x';", "'x'"},
      {"$a = 'x' . \"y\" . 1 . true . null;", "'xy11'"},
      {"$b = 'x'; $a = \"<$b>\";", "'<x>'"},
      {"$a = 60 * 2 + 10 / 4 - 1;", "121.5"},
      {"$a = -0.5;", "-0.5"},
      {"$a = 0x10 + 010 + 1_000;", "1024"},
      {"$a = (int) '5';", "'5'"},
      {"$a = ($b = 'x') . 'y';", "'xy'"},
      {"$a = $b = 'x';", "'x'"},
      {"define('K', 'x'); $a = K;", "'x'"},
      {"const K = 'x', L = 'y'; $a = K . L;", "'xy'"},
      {"class C { const string K = 'x'; function f() { $a = self::K; } }", "'x'"},
      {"$a = array('k' => 'x', 2 => [true, null], 'l' => K);",
       "[k=>'x',2=>[true,null],l=>?the constant K, which is not set in this file]"},
      {"$a = [CURLOPT_URL => 'x',];", "[CURLOPT_URL=>'x']"},
      {"$b = ['k' => ['l' => 'x']]; $a = $b['k']['l'];", "'x'"},
      {"$a = 'x'; $a .= 'y';", "'xy'"},
      {"function f() { $b = 'x'; return function () use ($b) { $a = $b; }; }", "'x'"},
      {"class C { private $b = 'x'; function f() { $a = $this->b . \"{$this->b}\"; } }", "'xx'"},
      {"class C { static $b; function f() { self::$b = 'x'; } function g() { $a = static::$b; } }", "'x'"},
      {"$a = json_encode(trim(__('x', 'domain')));", "'x'"},
      {"$a = new \\WP_REST_Response(['k' => 'x'], 200);", "[k=>'x']"},
      {"if ($x) { $a = 'x'; } else { $a = 'y'; }", "'y'"},
      {"<b><?php $a = 'x' ?></b>", "'x'"},
      {"$a = apply_filters('name', 'x');", "'x'"},
  };
  for (const auto& [php, value] : table) EXPECT_EQ(value_of("a", php), value) << php;
}

TEST(PhpValues, MembersOfArraysHaveNames) {
  EXPECT_EQ(value_of("k", "f(['l' => [['k' => 'x']]]);"), "'x'");
  EXPECT_EQ(value_of("k", "$a['b']['k'] = 'x';"), "'x'");
  EXPECT_EQ(value_of("k", "return array('k' => 'x');"), "'x'");
}

TEST(PhpValues, AssignmentsToMembersBuildTheArray) {
  EXPECT_EQ(value_of("b", "$a = []; $a[] = 'x'; $a['k'] = 'y'; $a['k'] = 'z'; $a[$i] = 1; $b = $a;"),
            "['x',k=>'z',1]");
  EXPECT_EQ(value_of("b", "$a = 'text'; $a['k']['l'] = 'y'; $b = $a;"), "[k=>[l=>'y']]");
}

TEST(PhpValues, ThatAreNotKnownSayWhy) {
  const std::pair<const char*, const char*> table[] = {
      {"$a = $b;", "?$b is not set in this file"},
      {"$a = 'x' . K;", "?the constant K, which is not set in this file"},
      {"$a = \"x $b\";", "?put together with $b, which is not set in this file"},
      {"$a = get_option('o', 'x');", "?in WordPress's database, get_option('o')"},
      {"$b = get_option('o'); $a = $b['k'];", "?in WordPress's database, get_option('o')"},
      {"$a = getenv('E') ?: 'x';", "?decided when the file runs"},
      {"$a = getenv('E') ?? 'x';", "?in the environment variable E"},
      {"$a = $b ? 'x' : 'y';", "?decided when the file runs"},
      {"$a = f('x');", "?the result of f()"},
      {"$a = $o->f('x')->g;", "?known when the file runs"},
      {"$a = 'x'[0];", "?known when the file runs"},
      {"$a = ['x'] . 'y';", "?an array as text"},
      {"$a = 'x'; $a += 1;", "?calculated when the file runs"},
      {"$a = function ($b = 'x') { return 'y'; };", "?a function"},
      {"$a = fn() => 'y';", "?a function"},
      {"$a = 0b11;", "?an unusual number"},
  };
  for (const auto& [php, value] : table) EXPECT_EQ(value_of("a", php), value) << php;
}

TEST(PhpValues, CallsAreHeard) {
  EXPECT_EQ(calls("\nCurl_SetOpt($c, CURLOPT_TIMEOUT, 5);"),
            "curl_setopt(?$c is not set in this file ?the constant CURLOPT_TIMEOUT, which is not set in this "
            "file 5 )@2 ");
  EXPECT_EQ(calls("$o->client()->Post('u');"), "client()@1 post('u' )@1 ");
  EXPECT_EQ(calls("Http::post('u', timeout: 5);"), "post('u' 5 )@1 ");
  EXPECT_EQ(calls("add_action('x', function () { f('y'); });"), "f('y' )@1 add_action('x' ?a function )@1 ");
}

TEST(PhpValues, ReasonsWithLongNamesWeighWhatTheyTake) {
  class Weighing : public PhpListener {
   public:
    void on_named(std::string_view, const PhpValue& value) override { bytes += value.text.size(); }
    void on_array(const PhpValue&) override {}
    void on_call(std::string_view, const std::vector<PhpValue>&, int) override {}
    size_t bytes = 0;
  };
  const std::string name(400'000, 'n');
  for (const std::string& reason : {"$" + name, "\"x $" + name + "\"", name + "()",
                                    "get_option('" + name + "')", "getenv('" + name + "')", name}) {
    std::string php = "$a = " + reason + ";";
    for (int i = 0; i < 3000; ++i) php += "$b = $a;";
    Weighing heard;
    EXPECT_THROW(follow_php(php, heard), PhpError);
    EXPECT_LE(heard.bytes, size_t{16} << 20) << reason.substr(0, 20);
  }
}

TEST(PhpValues, WhatDoublesAtEachStepEnds) {
  std::string strings = "$a = 'xxxxxxxxxxxxxxxx';";
  std::string arrays = "$a = [1];";
  std::string deep = "$a = [1];";
  for (int i = 0; i < 1000; ++i) {
    strings += "$a = $a . $a;";
    arrays += "$a = [$a, $a, 'k' => $a];";
    deep += "$a = [$a];";
  }
  for (const auto& php : {strings, arrays, deep}) {
    try {
      EXPECT_NE(value_of("a", php).find("too large"), std::string::npos);
    } catch (const PhpError& error) {
      EXPECT_STREQ(error.what(), "too much to follow");
    }
  }
}

TEST(PhpValues, DeepExpressionsEnd) {
  for (const char* part : {"!", "- ", "new ", "$a = ", "(int)", "1 ? ", "@", "clone "}) {
    std::string php;
    while (php.size() < 100000) php += part;
    EXPECT_THROW(value_of("a", php), PhpError) << part;
  }
  std::string members = "$a";
  while (members.size() < 100000) members += "['k']";
  EXPECT_THROW(value_of("a", members + " = 1;"), PhpError);
  for (const char* part : {"(", "[", "f(", "$a[", "function(){", "[0=>", "{", "\"{$a"}) {
    std::string php;
    for (size_t i = 0; i < kMaxPhpDepth; ++i) php += part;
    const std::string closing = std::string(part).find('(') != std::string::npos ? ")" : "]";
    try {
      value_of("a", php + closing);
    } catch (const PhpError&) {
    }
  }
  const std::string deepest = std::string(kMaxPhpDepth, '(') + "'x'" + std::string(kMaxPhpDepth, ')');
  EXPECT_EQ(value_of("a", "$a = " + deepest + ";"), "'x'");
}

}  // namespace
}  // namespace bailian
