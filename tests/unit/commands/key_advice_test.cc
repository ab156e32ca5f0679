#include "commands/key_advice.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bailian {
namespace {

using enum KeyAnswer;

constexpr const char* kBeijing = "https://dashscope.aliyuncs.com/api/v1";
constexpr const char* kSingapore = "https://dashscope-intl.aliyuncs.com/api/v1";
constexpr const char* kVirginia = "https://dashscope-us.aliyuncs.com/api/v1";
constexpr const char* kHongKong = "https://cn-hongkong.dashscope.aliyuncs.com/api/v1";

struct Failure {
  UpstreamFault fault;
  const char* code;
  bool is_about_access;
  bool has_no_connection;
};

TEST(KeyAdvice, IsSoughtAfterFailuresOfAccessAndOfTheConnection) {
  using F = UpstreamFault;
  for (const auto& [fault, code, access, no_connection] :
       {Failure{F::kAuth, "InvalidApiKey", true, false}, Failure{F::kApp, "App.AccessDenied", true, false},
        Failure{F::kApp, "WorkSpaceNotFound", true, false},
        Failure{F::kConnect, "connect_failed", false, true},
        Failure{F::kTimeout, "connect_timeout", false, true}, Failure{F::kConnect, "tls_failed", false, true},
        Failure{F::kConnect, "connection_broken", false, false},
        Failure{F::kTimeout, "first_token_timeout", false, false},
        Failure{F::kThrottled, "Throttling", false, false}, Failure{F::kQuota, "Arrearage", false, false},
        Failure{F::kFailed, "InternalError", false, false}}) {
    const UpstreamError error{fault, code, "", "", false};
    EXPECT_EQ(is_about_access(error), access) << code;
    EXPECT_EQ(has_no_connection(error), no_connection) << code;
  }
}

TEST(KeyAdvice, TheKeyGoesToNobodyButDashScope) {
  EXPECT_EQ(other_addresses(kBeijing), (std::vector<std::string>{kSingapore, kVirginia, kHongKong}));
  EXPECT_EQ(other_addresses(kHongKong), (std::vector<std::string>{kBeijing, kSingapore, kVirginia}));
  EXPECT_EQ(other_addresses("https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1"),
            (std::vector<std::string>{kBeijing, kSingapore, kVirginia, kHongKong}));
  for (const char* const own :
       {"http://127.0.0.1:9000/api/v1", "https://relay.example/api/v1",
        "https://relay.example/x.maas.aliyuncs.com/api/v1", "https://dashscope.aliyuncs.com.example/api/v1",
        "https://dashscope-finance.aliyuncs.com/api/v1",
        "https://ep-1.dashscope.cn-beijing.privatelink.aliyuncs.com/api/v1"})
    EXPECT_EQ(other_addresses(own), std::vector<std::string>()) << own;
}

TEST(KeyAdvice, AFindingIsOneLineWithoutTheKey) {
  const std::string key = "sk-canary-7c9e6679f8b9";
  EXPECT_EQ(describe({kBeijing, kAccepted, "HTTP 200"}, key), std::string(kBeijing) + " accepts the key");
  EXPECT_EQ(describe({kBeijing, kRefused, "HTTP 401"}, key), std::string(kBeijing) + " refuses the key");
  EXPECT_EQ(describe({kBeijing, kUnclear, "HTTP 404"}, key),
            std::string(kBeijing) + " says nothing about the key (HTTP 404)");
  EXPECT_EQ(describe({kBeijing, kNoConnection, "no\nroute " + key}, key),
            std::string(kBeijing) + " cannot be reached (no route ***)");
}

struct Row {
  std::vector<KeyFinding> findings;
  const char* advice;  // its beginning
};

TEST(KeyAdvice, SaysOnlyWhatTheFindingsTell) {
  const KeyFinding own_refuses{kBeijing, kRefused, ""};
  const Row rows[] = {
      {{}, ""},
      {{{kBeijing, kAccepted, ""}}, "The key is right for this address. Check APP_ID_2, whether "},
      {{{kBeijing, kUnclear, ""}}, ""},
      {{{kBeijing, kNoConnection, ""}}, ""},
      {{own_refuses}, "Copy the key from the console into DASHSCOPE_API_KEY_2 again. If "},
      {{own_refuses, {kSingapore, kRefused, ""}, {kVirginia, kUnclear, ""}},
       "Copy the key from the console "},
      {{own_refuses, {kSingapore, kNoConnection, ""}}, "Copy the key from the console "},
      {{own_refuses, {kSingapore, kRefused, ""}, {kVirginia, kAccepted, ""}},
       "If the application is in the region that accepts the key, set "
       "DASHSCOPE_BASE_URL_2=https://dashscope-us.aliyuncs.com/api/v1. If not, "},
      // Without a connection to the target's own address.
      {{{kSingapore, kNoConnection, ""}, {kVirginia, kAccepted, ""}}, "If the application is in the region "},
      {{{kSingapore, kNoConnection, ""}, {kVirginia, kRefused, ""}},
       "This machine reaches other addresses. Check DASHSCOPE_BASE_URL_2, "},
      {{{kSingapore, kUnclear, ""}}, "This machine reaches other addresses. Check DASHSCOPE_BASE_URL_2, "},
      {{{kSingapore, kNoConnection, ""}, {kVirginia, kNoConnection, ""}},
       "This machine reaches none of these addresses. "},
  };
  Target target;
  target.number = 2;
  target.base_url = kBeijing;
  for (const Row& row : rows) {
    const std::string advice = key_advice(target, row.findings);
    EXPECT_EQ(advice.substr(0, std::string(row.advice).size()), row.advice);
    EXPECT_EQ(advice.empty(), std::string(row.advice).empty()) << advice;
  }
}

}  // namespace
}  // namespace bailian
