#include "dashscope/error_codes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace bailian {
namespace {

struct KnownCode {
  std::string_view code;
  UpstreamFault fault;
};

constexpr std::array kKnownCodes = {
    KnownCode{"InvalidApiKey", UpstreamFault::kAuth},
    KnownCode{"NOT AUTHORIZED", UpstreamFault::kAuth},
    KnownCode{"AccessDenied", UpstreamFault::kApp},
    KnownCode{"AccessDenied.Unpurchased", UpstreamFault::kQuota},
    KnownCode{"Model.AccessDenied", UpstreamFault::kApp},
    KnownCode{"App.AccessDenied", UpstreamFault::kApp},
    KnownCode{"Workspace.AccessDenied", UpstreamFault::kApp},
    KnownCode{"InvalidAppId", UpstreamFault::kApp},
    KnownCode{"App.InvalidAppId", UpstreamFault::kApp},
    KnownCode{"FlowNotPublished", UpstreamFault::kApp},
    KnownCode{"ModelNotFound", UpstreamFault::kApp},
    KnownCode{"WorkSpaceNotFound", UpstreamFault::kApp},
    KnownCode{"NotFound", UpstreamFault::kApp},
    KnownCode{"DataInspectionFailed", UpstreamFault::kRejected},
    KnownCode{"FaqRuleBlocked", UpstreamFault::kRejected},
    KnownCode{"CustomRoleBlocked", UpstreamFault::kRejected},
    KnownCode{"BadRequest.TooLarge", UpstreamFault::kTooLarge},
    KnownCode{"Throttling", UpstreamFault::kThrottled},
    KnownCode{"LimitRequests", UpstreamFault::kThrottled},
    // Sounds like money and is none: the limit of tokens in a minute.
    KnownCode{"insufficient_quota", UpstreamFault::kThrottled},
    KnownCode{"rate_limit_exceeded", UpstreamFault::kThrottled},
    KnownCode{"ModelServingError", UpstreamFault::kThrottled},
    KnownCode{"Arrearage", UpstreamFault::kQuota},
    KnownCode{"AllocationQuota.FreeTierOnly", UpstreamFault::kQuota},
    KnownCode{"CommodityNotPurchased", UpstreamFault::kQuota},
    KnownCode{"PrepaidBillOverdue", UpstreamFault::kQuota},
    KnownCode{"PostpaidBillOverdue", UpstreamFault::kQuota},
    KnownCode{"RequestTimeOut", UpstreamFault::kTimeout},
    // The name misleads: it is a 400 for a conversation the model cannot take.
    KnownCode{"ServiceUnavailableError", UpstreamFault::kFailed},
};

// Many codes have an alias in the style of OpenAI: invalid_api_key is InvalidApiKey.
bool is_code(std::string_view code, std::string_view known) {
  if (code == known) return true;
  for (size_t i = 0; i < known.size(); ++i) {
    const auto c = static_cast<unsigned char>(known[i]);
    if (std::isupper(c) != 0 && i > 0 && known[i - 1] != '.') {
      if (!code.starts_with('_')) return false;
      code.remove_prefix(1);
    }
    if (code.empty() || code.front() != std::tolower(c)) return false;
    code.remove_prefix(1);
  }
  return code.empty();
}

const KnownCode* find_code(std::string_view code) {
  for (const KnownCode& known : kKnownCodes) {
    if (is_code(code, known.code)) return &known;
  }
  if (code.starts_with("Throttling.")) return find_code("Throttling");
  return nullptr;
}

// InternalError.Algo.DataInspectionFailed wraps DataInspectionFailed: the whole name, then ever shorter ends.
const KnownCode* find_wrapped_code(std::string_view code) {
  while (true) {
    if (const KnownCode* known = find_code(code)) return known;
    const size_t dot = code.find('.');
    if (dot == std::string_view::npos) return nullptr;
    code.remove_prefix(dot + 1);
  }
}

// Some messages begin with a code of their own: `<400> InternalError.Algo.DataInspectionFailed: ...`.
std::string_view code_in_message(std::string_view message) {
  if (!message.starts_with('<')) return {};
  const size_t start = message.find("> ");
  if (start == std::string_view::npos) return {};
  message.remove_prefix(start + 2);
  return message.substr(0, message.find(':'));
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

UpstreamFault classify_by_status(int status) {
  if (status == 401) return UpstreamFault::kAuth;
  if (status == 403 || status == 404) return UpstreamFault::kApp;
  if (status == 408) return UpstreamFault::kTimeout;
  if (status == 413) return UpstreamFault::kTooLarge;
  if (status == 429) return UpstreamFault::kThrottled;
  return UpstreamFault::kFailed;
}

// A monthly budget of the console is used up, and its option to stop then is on: a 429 of whatever code,
// which no waiting mends.
bool names_the_budget(std::string_view message) {
  return contains(message, "Budget Management") || contains(message, "预算管理");
}

UpstreamFault classify_by_code(int status, std::string_view code, std::string_view message) {
  // One code, two meanings: the rate was too high, or the free quota is gone for good.
  const bool is_allocation = code.ends_with("Throttling.AllocationQuota") || code == "insufficient_quota";
  if (is_allocation && contains(message, "Free")) {
    return UpstreamFault::kQuota;
  }
  // A wrong application id is reported as a bad parameter as well.
  const bool is_parameter = code.ends_with("InvalidParameter") || code == "invalid_parameter_error";
  if (is_parameter && (contains(message, "AppId") || contains(message, "app_id"))) {
    return UpstreamFault::kApp;
  }
  // Arrears come under this code as well.
  if (is_code(code, "AccessDenied") && contains(message, "in good standing")) {
    return UpstreamFault::kQuota;
  }
  if (const KnownCode* known = find_wrapped_code(code)) return known->fault;
  if (const KnownCode* known = find_wrapped_code(code_in_message(message))) return known->fault;
  return classify_by_status(status);
}

UpstreamFault classify(int status, std::string_view code, std::string_view message) {
  const UpstreamFault fault = classify_by_code(status, code, message);
  const bool may_be_429 = status == 429 || status < 400 || fault == UpstreamFault::kThrottled;
  return may_be_429 && names_the_budget(message) ? UpstreamFault::kQuota : fault;
}

// Those that kKnownCodes leaves to their status, and our own.
constexpr std::array<std::string_view, 35> kOtherCodes = {
    "InvalidParameter",
    "invalid_parameter_error",
    "BadRequest.EmptyInput",
    "BadRequest.EmptyParameters",
    "BadRequest.EmptyModel",
    "BadRequest.IllegalInput",
    "BadRequest.InputDownloadFailed",
    "BadRequest.UnsupportedFileFormat",
    "InvalidURL",
    "UnsupportedOperation",
    "ClientDisconnect",
    "Throttling.RateQuota",
    "Throttling.BurstRate",
    "Throttling.AllocationQuota",
    "InternalError",
    "InternalError.Algo",
    "InternalError.Timeout",
    "SystemError",
    "ModelServiceFailed",
    "AppProcessFailed",
    "InvokePluginFailed",
    "RewriteFailed",
    "RetrivalFailed",
    "RetrievalFailed",
    "ModelUnavailable",
    "connect_timeout",
    "connect_failed",
    "tls_failed",
    "connection_broken",
    "first_token_timeout",
    "idle_timeout",
    "timeout",
    "truncated_answer",
    "invalid_answer",
    "internal",
};

}  // namespace

std::string_view error_label(std::string_view code) {
  if (code.empty()) return "none";
  while (true) {
    const auto* other = std::find_if(kOtherCodes.begin(), kOtherCodes.end(),
                                     [code](std::string_view known) { return is_code(code, known); });
    if (other != kOtherCodes.end()) return *other;
    if (const KnownCode* known = find_code(code)) return known->code;
    const size_t dot = code.find('.');
    if (dot == std::string_view::npos) return "other";
    code.remove_prefix(dot + 1);
  }
}

std::string_view fault_label(UpstreamFault fault) {
  constexpr std::array<std::string_view, 9> kFaults = {
      "auth", "app", "rejected", "too_large", "throttled", "quota", "timeout", "connect", "failed"};
  return kFaults.at(static_cast<size_t>(fault));
}

UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id) {
  const UpstreamFault fault = classify(http_status, code, message);
  // Only what was turned away at the door is surely free. A step of the application that was throttled says
  // so with the status of a failure, and the steps before it are billed.
  const bool is_free = fault == UpstreamFault::kThrottled && (http_status == 429 || http_status < 400);
  return {fault, std::string(code), std::string(message), std::string(request_id), is_free};
}

}  // namespace bailian
