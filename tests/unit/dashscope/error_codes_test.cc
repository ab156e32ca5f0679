#include "dashscope/error_codes.h"

#include <gtest/gtest.h>

#include <string>

namespace bailian {
namespace {

struct Code {
  int status;
  std::string code;
  std::string message;
  UpstreamFault fault;
  bool retryable;
};
class Codes : public testing::TestWithParam<Code> {};

TEST_P(Codes, MeanWhatTheDocumentationSays) {
  const Code& code = GetParam();
  const UpstreamError error = classify_error(code.status, code.code, code.message, "r");
  EXPECT_EQ(error.fault, code.fault) << code.code << " " << code.message;
  EXPECT_EQ(error.retryable, code.retryable) << code.code << " " << code.message;
  EXPECT_EQ(error.code, code.code);
  EXPECT_EQ(error.request_id, "r");
}

using F = UpstreamFault;
INSTANTIATE_TEST_SUITE_P(
    ErrorCodes, Codes,
    testing::Values(
        Code{401, "InvalidApiKey", "Invalid API-key provided.", F::kAuth, false},
        Code{401, "NOT AUTHORIZED", "", F::kAuth, false}, Code{401, "", "", F::kAuth, false},
        Code{403, "App.AccessDenied", "App access denied.", F::kApp, false},
        Code{403, "AccessDenied", "", F::kApp, false},
        Code{403, "Workspace.AccessDenied", "", F::kApp, false},
        Code{404, "WorkSpaceNotFound", "", F::kApp, false}, Code{400, "InvalidAppId", "", F::kApp, false},
        Code{400, "FlowNotPublished", "", F::kApp, false},
        Code{400, "InvalidParameter", "AppId is not valid", F::kApp, false},
        Code{400, "InvalidParameter", "app_id is not valid", F::kApp, false},
        Code{403, "", "", F::kApp, false}, Code{404, "", "", F::kApp, false},
        Code{400, "InvalidParameter", "Required parameter(s) missing", F::kFailed, false},
        Code{400, "DataInspectionFailed", "", F::kRejected, false},
        Code{400, "InternalError.Algo.DataInspectionFailed", "", F::kRejected, false},
        Code{500, "InternalError.Algo", "<400> InternalError.Algo.DataInspectionFailed: Output data",
             F::kRejected, false},
        Code{400, "FaqRuleBlocked", "", F::kRejected, false},
        Code{400, "BadRequest.TooLarge", "", F::kTooLarge, false}, Code{413, "", "", F::kTooLarge, false},
        Code{400, "BadRequest.EmptyInput", "", F::kFailed, false},
        Code{429, "Throttling", "", F::kThrottled, true},
        Code{429, "Throttling.RateQuota", "", F::kThrottled, true},
        Code{429, "Throttling.BurstRate", "", F::kThrottled, true},
        Code{429, "LimitRequests", "", F::kThrottled, true},
        Code{429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase", F::kThrottled,
             true},
        Code{429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", F::kQuota, false},
        Code{429, "CommodityNotPurchased", "", F::kQuota, false},
        Code{429, "PrepaidBillOverdue", "", F::kQuota, false},
        Code{429, "PostpaidBillOverdue", "", F::kQuota, false}, Code{400, "Arrearage", "", F::kQuota, false},
        Code{403, "AllocationQuota.FreeTierOnly", "", F::kQuota, false},
        Code{429, "Throttling.RateQuota",
             "The budget configured in Budget Management has been exhausted. You will be unable to make "
             "further API calls until the budget limit is increased or reset.",
             F::kQuota, false},
        Code{429, "", "您在「预算管理」中设置的预算额度已用尽。", F::kQuota, false},
        Code{429, "insufficient_quota", "Budget Management", F::kQuota, false},
        Code{200, "Unheard", "Budget Management", F::kQuota, false},
        Code{400, "InvalidParameter", "Budget Management", F::kFailed, false},
        Code{400, "DataInspectionFailed", "预算管理", F::kRejected, false},
        Code{429, "insufficient_quota",
             "You exceeded your current quota, please check your plan and billing details.", F::kThrottled,
             true},
        Code{429, "insufficient_quota", "Free allocated quota exceeded.", F::kQuota, false},
        Code{429, "limit_requests", "", F::kThrottled, true},
        Code{429, "rate_limit_exceeded", "", F::kThrottled, true},
        Code{401, "invalid_api_key", "Incorrect API key provided.", F::kAuth, false},
        Code{403, "access_denied", "", F::kApp, false},
        Code{403, "access_denied", "Access denied, please make sure your account is in good standing.",
             F::kQuota, false},
        Code{403, "AccessDenied", "please make sure your account is in good standing", F::kQuota, false},
        Code{404, "model_not_found", "", F::kApp, false},
        Code{400, "data_inspection_failed", "", F::kRejected, false},
        Code{400, "arrearage", "", F::kQuota, false},
        Code{400, "invalid_parameter_error", "AppId is not valid", F::kApp, false},
        Code{400, "invalid_parameter_error", "Required parameter(s) missing", F::kFailed, false},
        Code{429, "Unheard", "", F::kThrottled, true}, Code{500, "RequestTimeOut", "", F::kTimeout, false},
        Code{408, "", "", F::kTimeout, false}, Code{500, "InternalError", "", F::kFailed, false},
        Code{500, "InternalError.Timeout", "", F::kFailed, false},
        Code{503, "ModelServingError", "", F::kThrottled, false}, Code{503, "", "", F::kFailed, false},
        Code{429, "ModelServingError", "", F::kThrottled, true},
        Code{200, "Throttling.RateQuota", "", F::kThrottled, true},
        Code{500, "InternalError.Algo.Throttling", "", F::kThrottled, false},
        Code{400, "ServiceUnavailableError", "", F::kFailed, false}, Code{200, "", "", F::kFailed, false},
        Code{307, "", "", F::kFailed, false}, Code{0, "Unheard", "<", F::kFailed, false},
        Code{400, "Unheard", "<400> Unheard2: x", F::kFailed, false}));

TEST(ErrorLabels, OfAnAliasIsThatOfItsCode) {
  EXPECT_EQ(error_label("invalid_api_key"), "InvalidApiKey");
  EXPECT_EQ(error_label("access_denied"), "AccessDenied");
  EXPECT_EQ(error_label("limit_requests"), "LimitRequests");
  EXPECT_EQ(error_label("internal_error"), "InternalError");
  EXPECT_EQ(error_label("insufficient_quota"), "insufficient_quota");
  EXPECT_EQ(error_label("invalid_parameter_error"), "invalid_parameter_error");
  EXPECT_EQ(error_label("invalid_api_keys"), "other");
  EXPECT_EQ(error_label("_"), "other");
}

TEST(ErrorLabels, AreDocumentedCodesOrOther) {
  for (const char* known : {"InvalidApiKey", "Throttling", "Throttling.RateQuota", "NOT AUTHORIZED",
                            "InvalidParameter", "InternalError.Algo", "idle_timeout", "invalid_answer"}) {
    EXPECT_EQ(error_label(known), known);
  }
  EXPECT_EQ(error_label("InternalError.Algo.DataInspectionFailed"), "DataInspectionFailed");
  EXPECT_EQ(error_label("InternalError.Algo.InvalidParameter"), "InvalidParameter");
  EXPECT_EQ(error_label("Throttling.New"), "Throttling");
  for (const char* unknown : {"x", "Made.Up", "invalidapikey", "a\"b", ".", "InvalidApiKey."}) {
    EXPECT_EQ(error_label(unknown), "other") << unknown;
  }
  EXPECT_EQ(error_label(""), "none");
}

TEST(Faults, HaveTheirLabelStatusWordsAndExitCode) {
  const auto row = [](UpstreamFault fault) {
    const Fault& is = describe(fault);
    EXPECT_FALSE(is.advice.empty());
    const HttpError error = to_http_error({fault, "Code", "words", "", false}, false, "");
    EXPECT_EQ(error.status(), is.http_status);
    EXPECT_EQ(error.code(), is.code);
    EXPECT_EQ(error.what(), is.words);
    return std::string(is.label) + " " + std::to_string(is.http_status) + " " + std::string(is.code) + " " +
           std::string(is.words) + " " + std::to_string(is.exit_code);
  };
  EXPECT_EQ(row(UpstreamFault::kAuth), "auth 502 upstream_auth Authentication failed 77");
  EXPECT_EQ(row(UpstreamFault::kApp), "app 502 upstream_app App not found 78");
  EXPECT_EQ(row(UpstreamFault::kRejected), "rejected 400 content_rejected API Error 69");
  EXPECT_EQ(row(UpstreamFault::kTooLarge), "too_large 413 too_large Request too large 69");
  EXPECT_EQ(row(UpstreamFault::kThrottled), "throttled 429 rate_limited API Error 75");
  EXPECT_EQ(row(UpstreamFault::kQuota), "quota 503 upstream_quota API Error 69");
  EXPECT_EQ(row(UpstreamFault::kTimeout), "timeout 504 upstream_timeout Connection timeout 69");
  EXPECT_EQ(row(UpstreamFault::kConnect), "connect 502 upstream_error Connection failed 69");
  EXPECT_EQ(row(UpstreamFault::kFailed), "failed 502 upstream_error API Error 69");
}

TEST(HttpErrors, IncludeTheUpstreamsMessageWithoutTheKeyInDebugMode) {
  const UpstreamError error{UpstreamFault::kAuth, "InvalidApiKey",
                            "key secret-key or sk-0123456789abcdef is bad", "", false};
  EXPECT_STREQ(to_http_error(error, true, "secret-key").what(),
               "Authentication failed: InvalidApiKey: key *** or sk-*** is bad");
  EXPECT_STREQ(to_http_error(error, false, "secret-key").what(), "Authentication failed");
  const UpstreamError other{UpstreamFault::kFailed, "", "words", "", false};
  EXPECT_STREQ(to_http_error(other, true, "key").what(), "API Error: words");
  EXPECT_STREQ(to_http_error(other, false, "key").what(), "API Error");
}

TEST(HttpErrors, IncludeNoneOfTheUpstreamsWordsWithoutDebugMode) {
  for (int fault = 0; fault <= static_cast<int>(UpstreamFault::kFailed); ++fault) {
    const UpstreamError error{static_cast<UpstreamFault>(fault), "CodeX", "WordsX", "IdX", false};
    const std::string shown = to_http_error(error, false, "").what();
    EXPECT_EQ(shown.find('X'), std::string::npos) << shown;
  }
}

}  // namespace
}  // namespace bailian
