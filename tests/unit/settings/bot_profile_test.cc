#include "settings/bot_profile.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "base/json.h"

namespace bailian {
namespace {

const std::string kGood = R"({
  "commonButtons": [{"buttonPrompt":"p","buttonText":"t"}], "botStatus": 1, "StartUpMessage": "你好",
  "fontSize": "14", "userAvatarURL": "/u.png", "botImageURL": "/b.png"})";

std::string all_faults(const std::string& text) {
  std::vector<std::string> faults;
  if (parse_bot_profile(text, faults)) return "none";
  std::string all;
  for (const std::string& fault : faults) all += fault + "\n";
  return all;
}

BotProfile parsed(const std::string& text) {
  std::vector<std::string> faults;
  return parse_bot_profile(text, faults).value();
}

TEST(BotProfile, HasExactlyTheKeysThatFrontEndsRead) {
  EXPECT_EQ(
      parsed(kGood).json,
      R"({"botStatus":1,"StartUpMessage":"你好","fontSize":"14","userAvatarURL":"/u.png","botImageURL":"/b.png",)"
      R"("commonButtons":[{"buttonText":"t","buttonPrompt":"p"}]})");
}

TEST(BotProfile, DefaultIsTheOneOfTheOldConfigPhp) {
  JsonDocument profile;
  ASSERT_FALSE(parse_json(default_bot_profile().json, profile));
  EXPECT_EQ(profile["botStatus"].GetInt(), 0);
  EXPECT_STREQ(profile["StartUpMessage"].GetString(), "Hi, How are you?");
  EXPECT_STREQ(profile["fontSize"].GetString(), "16");
  EXPECT_EQ(profile["commonButtons"].Size(), 2U);
}

TEST(BotProfile, TheShippedExampleIsAccepted) {
  std::ifstream file("deploy/examples/bot.json");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(all_faults(text), "none");
}

TEST(BotProfile, EtagFollowsTheContent) {
  EXPECT_EQ(parsed(kGood).etag, parsed(kGood + "\n").etag);
  EXPECT_NE(parsed(kGood).etag, default_bot_profile().etag);
  EXPECT_EQ(default_bot_profile().etag.front(), '"');
}

TEST(BotProfile, OfABotThatIsOfflineDiffersInItsStatusAlone) {
  const BotProfile online = parsed(kGood);
  const BotProfile offline = offline_profile(online);
  std::string expected = online.json;
  expected.replace(0, 14, R"({"botStatus":0)");
  EXPECT_EQ(offline.json, expected);
  EXPECT_NE(offline.etag, online.etag);
  EXPECT_EQ(offline.etag, parsed(expected).etag);
  EXPECT_EQ(offline_profile(offline).etag, offline.etag);
}

TEST(BotProfile, EveryFaultNamesItsKey) {
  EXPECT_EQ(all_faults(R"({"botStatus":"1","StartUpMessage":7,"fontSize":16,"userAvatarURL":null,"extra":1,
                           "commonButtons":[{"buttonText":"t"},5,{"buttonText":1,"buttonPrompt":"p"}]})"),
            "botStatus: expected 0 (offline) or 1 (online), found \"1\"\n"
            "StartUpMessage: expected a string, found 7\n"
            "fontSize: expected a string, found 16\n"
            "userAvatarURL: expected a string, found null\n"
            "botImageURL: missing\n"
            "commonButtons[0].buttonPrompt: missing\n"
            "commonButtons[1]: expected an object, found 5\n"
            "commonButtons[2].buttonText: expected a string, found 1\n"
            "extra: not a key of the profile\n");
}

TEST(BotProfile, WhatIsNoObjectIsRefused) {
  EXPECT_EQ(all_faults("[]"), "expected an object, found []\n");
  EXPECT_EQ(all_faults(R"({"botStatus":2)").rfind("not JSON: ", 0), 0U);
  EXPECT_NE(all_faults(R"({"commonButtons":{}})").find("commonButtons: expected an array, found {}"),
            std::string::npos);
  EXPECT_NE(all_faults(R"({"botStatus":2})").find("found 2"), std::string::npos);
  EXPECT_NE(all_faults(R"({"botStatus":1.5})").find("found 1.5"), std::string::npos);
  EXPECT_NE(all_faults("{\"botStatus\":\"" + std::string(100, 'x') + "\"}").find("found a longer value"),
            std::string::npos);
}

}  // namespace
}  // namespace bailian
