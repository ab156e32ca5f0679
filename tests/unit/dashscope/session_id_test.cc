#include "dashscope/session_id.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {
namespace {

Target target(int number, const std::string& app, const std::string& key,
              const std::string& base_url = "https://dashscope.aliyuncs.com/api/v1") {
  Target target;
  target.number = number;
  target.base_url = base_url;
  target.app_id = app;
  target.api_key = key;
  return target;
}

const Target kFirst = target(1, "a", "sk-1111111111");
const Target kSecond = target(2, "b", "sk-1111111111");
const std::vector<const Target*> kBoth = {&kFirst, &kSecond};

TEST(SessionIds, NameTheirTarget) {
  for (size_t i = 0; i < kBoth.size(); ++i) {
    const std::string sent = mark_session("s1", *kBoth[i]);
    EXPECT_EQ(sent.size(), 2 + 1 + 24);
    EXPECT_TRUE(sent.starts_with("s1~")) << sent;
    const SentSession session = read_session(sent, kBoth);
    EXPECT_EQ(session.id, "s1");
    EXPECT_EQ(session.target, i);
  }
}

TEST(SessionIds, OutliveAnotherOrderAndNumber) {
  const Target moved = target(7, "a", "sk-1111111111");
  const std::vector<const Target*> targets = {&kSecond, &moved};
  const std::string sent = mark_session("s1", kFirst);
  EXPECT_EQ(read_session(sent, targets).target, 1U);
}

TEST(SessionIds, DependOnKeyApplicationHostAndId) {
  const std::string sent = mark_session("s1", kFirst);
  for (const Target& other :
       {target(1, "a", "sk-2222222222"), target(1, "b", "sk-1111111111"),
        target(1, "a", "sk-1111111111", "https://dashscope-intl.aliyuncs.com/api/v1")}) {
    const std::vector<const Target*> targets = {&other};
    EXPECT_FALSE(read_session(sent, targets).target);
  }
  EXPECT_FALSE(read_session("s2" + sent.substr(2), kBoth).target);
}

TEST(SessionIds, WithoutACodeAreOfTheFirstTarget) {
  for (const std::string sent :
       {"", "s1", "~", "s1~", "~0123456789abcdef01234567", "s1~0123456789abcdef0123456",
        "s1~0123456789ABCDEF01234567", "s1~0123456789abcdef0123456g", "s1-0123456789abcdef01234567"}) {
    const SentSession session = read_session(sent, kBoth);
    EXPECT_EQ(session.id, sent);
    EXPECT_EQ(session.target, 0U) << sent;
  }
}

TEST(SessionIds, ThatNobodyHasMadeAreOfNoTarget) {
  const std::string code = "~0123456789abcdef01234567";
  for (const std::string& id : {std::string("s1"), std::string(100000, 'x'), std::string("\0\xff\n", 3)})
    EXPECT_FALSE(read_session(id + code, kBoth).target);
  const std::string right = mark_session("s1", kFirst);
  for (size_t i = 3; i < right.size(); ++i) {
    std::string wrong = right;
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    EXPECT_FALSE(read_session(wrong, kBoth).target) << i;
  }
}

}  // namespace
}  // namespace bailian
