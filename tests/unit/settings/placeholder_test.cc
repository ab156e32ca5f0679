#include "settings/placeholder.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

TEST(Placeholders, AreKnownInEverySpelling) {
  for (const char* text : {"sk-your-api-key-here",
                           "sk-0E",
                           "sk-XXX",
                           "your-app-id-here",
                           "your-bailian-app-id-here",
                           "your_dashscope_api_key",
                           "your_app_id",
                           "YOUR_APP_ID",
                           "your_bailian_app_id",
                           "YourApiKey",
                           "YOUR-API-KEY",
                           "yourapikey",
                           "sk-yourkey",
                           "sk-xxxxxxxxxxxxxxxx",
                           "sk-xxx",
                           "xxxxxxxx",
                           "sk-***",
                           "sk-",
                           "***",
                           "sk-...",
                           "sk-…",
                           "sk-abc...",
                           "...",
                           "<your key>",
                           "<key>",
                           "<YOUR_API_KEY>",
                           "[your key]",
                           "${KEY}",
                           "$DASHSCOPE_API_KEY",
                           "{{ api_key }}",
                           "$(cat key)",
                           "%API_KEY%",
                           "changeme",
                           "change-me",
                           "CHANGE_ME",
                           "replace-me",
                           "replace_with_your_key",
                           "put your key here",
                           "PUT_YOUR_KEY_HERE",
                           "insert-key-here",
                           "none",
                           "None",
                           "NULL",
                           "false",
                           "no-key",
                           "EMPTY",
                           "undefined",
                           "todo",

                           "placeholder",
                           "APP_ID",
                           "API_KEY",
                           "api-key",
                           "my-api-key",
                           "sk-my-key",

                           "DASHSCOPE_API_KEY",
                           "the key",
                           "app_id",
                           "ici vient la clé",
                           "votre clé",
                           "hier kommt der Schlüssel hin",
                           "dein-api-key",
                           "aquí va la clave",
                           "你的API密钥",
                           "sk-你的密钥",
                           "您的应用ID",
                           "请替换为你的key",
                           "my application id"}) {
    EXPECT_TRUE(is_placeholder(text)) << text;
  }
}

TEST(Placeholders, AreNoKeysAndNoIds) {
  for (const char* text : {"",
                           "sk-0123456789abcdef",
                           "sk-canary-7c9e6679f8b94e0aa2d1b3c5d7e9f1a3",
                           "sk-1234567890",
                           "sk-simulator",
                           "simulator",
                           "shop",
                           "x",
                           "abcdef",
                           "app",
                           "my-app",
                           "test-app",
                           "app-1",
                           "0123456789abcdef0123456789abcdef",
                           "a1b2c3d4e5f60718293a4b5c6d7e8f90",
                           "sk-a",
                           "sk-b",
                           "sk-x1",
                           "sk-old",
                           "sk-new",
                           "sk-file",
                           "sk-mine",
                           "sk-from-file",
                           "sk-proj-openai",
                           "sk-very secret",
                           "a b",
                           "sk-key\nwith another line",
                           "your\tkey",
                           "example-shop",
                           "sk-example",
                           "sk-x",
                           "sk-test",
                           "sk-fake",
                           "test-key",
                           "secret",
                           "none-shall-pass",
                           "llm-xk3jd9s",
                           "sk-ws-H.XIDXH.Xk3j.MEUCIQDxyz"}) {
    EXPECT_FALSE(is_placeholder(text)) << text;
  }
}

TEST(Placeholders, AreLookedForInLinearTime) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "keyid";
  EXPECT_FALSE(is_placeholder(text));
}

}  // namespace
}  // namespace bailian
