#include "settings/biz_params.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {
namespace {

std::string allowed(const std::string& sent, const std::vector<std::string>& names) {
  JsonDocument document;
  EXPECT_FALSE(parse_json(sent, document));
  const auto params = allowed_biz_params(document, names);
  const ValueFault* fault = fault_in(params);
  return fault == nullptr ? std::get<std::string>(params) : "refused: " + fault->sentence;
}

TEST(BizParams, AreWhatIsAllowedAndNothingElse) {
  EXPECT_EQ(allowed(R"({"city":"杭州","role":"admin"})", {"city", "country"}), R"({"city":"杭州"})");
  EXPECT_EQ(allowed(R"({"city":["a",{"b":1.5}],"x":null})", {"x", "city"}),
            R"({"x":null,"city":["a",{"b":1.5}]})");
  EXPECT_EQ(allowed(R"({"role":"admin"})", {"city"}), "");
  EXPECT_EQ(allowed("{}", {"city"}), "");
  EXPECT_EQ(allowed(R"({"city":"a","city":"b"})", {"city"}), R"({"city":"b"})") << "the last counts";
  EXPECT_EQ(allowed(R"({"a.b":1,"a":{"b":2}})", {"a.b"}), R"({"a.b":1})") << "a workflow's own name";
}

TEST(BizParams, OfAGroupMayBeAllowedOneByOne) {
  const std::string sent =
      R"({"user_defined_params":{"tool-1":{"city":"Hangzhou"},"tool-2":{"x":1}},"user_defined_tokens":{"tool-1":{"user_token":"t"}}})";
  EXPECT_EQ(allowed(sent, {"user_defined_params.tool-1"}),
            R"({"user_defined_params":{"tool-1":{"city":"Hangzhou"}}})");
  EXPECT_EQ(allowed(sent, {"user_defined_params"}),
            R"({"user_defined_params":{"tool-1":{"city":"Hangzhou"},"tool-2":{"x":1}}})");
  EXPECT_EQ(allowed(sent, {"user_defined_params.tool-1", "user_defined_params"}),
            allowed(sent, {"user_defined_params"}));
  EXPECT_EQ(allowed(sent, {"user_defined_params.tool-3"}), "");
  EXPECT_EQ(allowed(R"({"user_prompt_params":{"a.b":1,"c":2}})", {"user_prompt_params.a.b"}),
            R"({"user_prompt_params":{"a.b":1}})");
  EXPECT_EQ(allowed(R"({"user_prompt_params":null})", {"user_prompt_params.a"}), "");
}

TEST(BizParams, OfAnotherShapeAreRefused) {
  const auto nested = [](size_t levels) {
    return R"({"a":)" + std::string(levels - 1, '[') + "1" + std::string(levels - 1, ']') + "}";
  };
  const auto sized = [](size_t bytes) { return R"({"a":")" + std::string(bytes - 8, 'x') + "\"}"; };
  for (const std::string& good : {nested(8), sized(16384)}) EXPECT_EQ(allowed(good, {"a"}), good);
  const std::string deep = nested(9);
  const std::string huge = sized(16385);
  for (const std::string& bad : {std::string("[]"), std::string("5"), std::string("\"a\""), deep, huge}) {
    EXPECT_TRUE(allowed(bad, {"a"}).starts_with("refused: biz_params must ")) << bad.substr(0, 40);
  }
  EXPECT_EQ(allowed(R"({"user_prompt_params":[]})", {"user_prompt_params.a"}),
            "refused: biz_params: user_prompt_params must be an object");
  EXPECT_EQ(allowed(R"({"b":1,"a":)" + huge + "}", {"b"}), R"({"b":1})") << "what is dropped does not count";
}

TEST(BizParams, OfTheOperatorOutweighThoseOfTheBrowser) {
  EXPECT_EQ(merged_biz_params("{}", ""), "");
  EXPECT_EQ(merged_biz_params("", ""), "");
  EXPECT_EQ(merged_biz_params(R"({"a":1})", ""), R"({"a":1})");
  EXPECT_EQ(merged_biz_params("{}", R"({"a":1})"), R"({"a":1})");
  EXPECT_EQ(merged_biz_params(R"({"a":1,"b":{"c":2}})", R"({"a":5,"b":{"c":6,"d":7},"e":8})"),
            R"({"a":1,"b":{"c":2,"d":7},"e":8})");
  EXPECT_EQ(merged_biz_params(R"({"a":1})", R"({"a":{"b":2}})"), R"({"a":1})");
  EXPECT_EQ(merged_biz_params(R"({"b":{"c":2}})", R"({"b":{"c":5,"c":6}})"), R"({"b":{"c":2}})")
      << "also when it comes twice";
}

TEST(BizParams, HaveNamesThatCanBeAllowed) {
  for (const char* good : {"city", "城市", "a.b", "user_defined_params", "user_defined_params.tool-1"}) {
    EXPECT_TRUE(is_biz_param_name(good)) << good;
  }
  for (const char* bad : {"", "user_defined_params."}) EXPECT_FALSE(is_biz_param_name(bad)) << bad;
}

}  // namespace
}  // namespace bailian
