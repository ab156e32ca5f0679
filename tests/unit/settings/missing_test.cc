#include "settings/missing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {
namespace {

Target target(int number, const std::string& key, const std::string& application) {
  Target made;
  made.number = number;
  made.api_key = key;
  made.app_id = application;
  return made;
}

struct Row {
  std::vector<Target> targets;
  const char* missing;
  std::vector<std::string> not_asked;
};

TEST(Missing, ChatsNeedOneTargetThatHasAll) {
  const Row rows[] = {
      {{target(1, "k", "a")}, "", {}},
      {{target(1, "", "a")}, "DASHSCOPE_API_KEY", {}},
      {{target(1, "k", "")}, "APP_ID", {}},
      {{target(1, "", "")}, "DASHSCOPE_API_KEY and APP_ID", {}},
      {{target(1, "k", "a"), target(2, "k", "b")}, "", {}},
      {{target(1, "k", "a"), target(3, "", "b")}, "", {"target 3 is not asked: it has no key"}},
      {{target(1, "k", "a"), target(2, "", "")},
       "",
       {"target 2 is not asked: it has no key and no application"}},
      {{target(1, "k", ""), target(2, "k", "b")}, "", {"target 1 is not asked: it has no application"}},
      {{target(1, "k", ""), target(2, "", "b")}, "APP_ID", {}},
  };
  for (const Row& row : rows) {
    Config config;
    config.targets = row.targets;
    EXPECT_EQ(missing_for_chats(config), row.missing);
    EXPECT_EQ(targets_not_asked(config), row.not_asked);
  }
}

TEST(Missing, ATargetThatABotInheritsIsNamedOnce) {
  Config config;
  config.targets = {target(1, "k", "a"), target(2, "", "b")};
  Config bot = config;
  bot.name = "shop";
  config.bots = {bot};
  EXPECT_EQ(targets_not_asked(config), std::vector<std::string>{"target 2 is not asked: it has no key"});
  config.bots.front().targets[1].app_id = "c";
  EXPECT_EQ(targets_not_asked(config),
            (std::vector<std::string>{"target 2 is not asked: it has no key",
                                      "bot shop: target 2 is not asked: it has no key"}));
}

}  // namespace
}  // namespace bailian
