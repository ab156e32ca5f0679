#include "dashscope/error_codes.h"

#include <sysexits.h>

#include <algorithm>
#include <cassert>
#include <cctype>
#include <functional>
#include <optional>
#include <string>

#include "base/key_mask.h"

namespace bailian {
namespace {

using enum UpstreamFault;

constexpr std::string_view kAskSupport =
    "The upstream failed; look at its status page, or give the request id above to its support.";

constexpr Fault kFaults[] = {
    {kAuth, "auth", 502, "upstream_auth", "Authentication failed", EX_NOPERM,
     "Check DASHSCOPE_API_KEY: it must be a key of the same region as DASHSCOPE_BASE_URL.", CoolDown::kLong},
    {kApp, "app", 502, "upstream_app", "App not found", EX_CONFIG,
     "Check APP_ID and that the application is published. The key must belong to its workspace, or set "
     "DASHSCOPE_WORKSPACE.",
     CoolDown::kLong},
    {kRejected, "rejected", 400, "content_rejected", "API Error", EX_UNAVAILABLE,
     "The content was refused, by content inspection or by a rule of the application.", CoolDown::kNone},
    {kTooLarge, "too_large", 413, "too_large", "Request too large", EX_UNAVAILABLE,
     "The conversation is too large: lower MAX_HISTORY_MESSAGES and MAX_PROMPT_BYTES.", CoolDown::kNone},
    {kThrottled, "throttled", 429, "rate_limited", "API Error", EX_TEMPFAIL,
     "Too many requests at the moment; try again in a minute or have the limit raised.",
     CoolDown::kThrottled},
    {kQuota, "quota", 503, "upstream_quota", "API Error", EX_UNAVAILABLE,
     "The account is in arrears, or its quota or monthly budget is used up: see the billing pages and "
     "Budget Management (预算管理) in the console.",
     CoolDown::kLong},
    {kTimeout, "timeout", 504, "upstream_timeout", "Connection timeout", EX_UNAVAILABLE,
     "Nothing came in time: check the network, a firewall and DASHSCOPE_BASE_URL.", CoolDown::kBrief},
    {kConnect, "connect", 502, "upstream_error", "Connection failed", EX_UNAVAILABLE,
     "No connection: check DNS, the firewall, the certificates (ca-certificates) and DASHSCOPE_BASE_URL.",
     CoolDown::kBrief},
    {kFailed, "failed", 502, "upstream_error", "API Error", EX_UNAVAILABLE, kAskSupport, CoolDown::kBrief},
};

constexpr bool has_a_row_for_each_fault() {
  for (size_t i = 0; i < std::size(kFaults); ++i) {
    if (kFaults[i].fault != static_cast<UpstreamFault>(i)) return false;
  }
  return std::size(kFaults) == static_cast<size_t>(kFailed) + 1;
}
static_assert(has_a_row_for_each_fault());

struct KnownCode {
  std::string_view code;
  std::optional<UpstreamFault> fault;  // none: the status decides
};

// The documented codes and, in lower case, our own.
constexpr KnownCode kKnownCodes[] = {
    {"AccessDenied", kApp},
    {"AccessDenied.Unpurchased", kQuota},
    {"AllocationQuota.FreeTierOnly", kQuota},
    {"App.AccessDenied", kApp},
    {"App.InvalidAppId", kApp},
    {"AppProcessFailed", {}},
    {"Arrearage", kQuota},
    {"BadRequest.EmptyInput", {}},
    {"BadRequest.EmptyModel", {}},
    {"BadRequest.EmptyParameters", {}},
    {"BadRequest.IllegalInput", {}},
    {"BadRequest.InputDownloadFailed", {}},
    {"BadRequest.TooLarge", kTooLarge},
    {"BadRequest.UnsupportedFileFormat", {}},
    {"ClientDisconnect", {}},
    {"CommodityNotPurchased", kQuota},
    {"CustomRoleBlocked", kRejected},
    {"DataInspectionFailed", kRejected},
    {"FaqRuleBlocked", kRejected},
    {"FlowNotPublished", kApp},
    {"InternalError", {}},
    {"InternalError.Algo", {}},
    {"InternalError.Timeout", {}},
    {"InvalidApiKey", kAuth},
    {"InvalidAppId", kApp},
    {"InvalidParameter", {}},
    {"InvalidURL", {}},
    {"InvokePluginFailed", {}},
    {"LimitRequests", kThrottled},
    {"Model.AccessDenied", kApp},
    {"ModelNotFound", kApp},
    {"ModelServiceFailed", {}},
    {"ModelServingError", kThrottled},
    {"ModelUnavailable", {}},
    {"NOT AUTHORIZED", kAuth},
    {"NotFound", kApp},
    {"PostpaidBillOverdue", kQuota},
    {"PrepaidBillOverdue", kQuota},
    {"RequestTimeOut", kTimeout},
    {"RetrievalFailed", {}},
    {"RetrivalFailed", {}},
    {"RewriteFailed", {}},
    // Despite its name a 400, for a conversation that the model cannot take.
    {"ServiceUnavailableError", kFailed},
    {"SystemError", {}},
    {"Throttling", kThrottled},
    {"Throttling.AllocationQuota", kThrottled},
    {"Throttling.BurstRate", kThrottled},
    {"Throttling.RateQuota", kThrottled},
    {"UnsupportedOperation", {}},
    {"WorkSpaceNotFound", kApp},
    {"Workspace.AccessDenied", kApp},
    {"connect_failed", {}},
    {"connect_timeout", {}},
    {"connection_broken", {}},
    {"first_token_timeout", {}},
    {"idle_timeout", {}},
    // Not about money: the limit of tokens per minute.
    {"insufficient_quota", kThrottled},
    {"invalid_answer", {}},
    {"invalid_parameter_error", {}},
    {"rate_limit_exceeded", kThrottled},
    {"timeout", {}},
    {"tls_failed", {}},
    {"truncated_answer", {}},
};
static_assert(std::ranges::is_sorted(kKnownCodes, std::ranges::less_equal{}, &KnownCode::code));

// Many codes have an alias in OpenAI's style: invalid_api_key stands for InvalidApiKey.
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
  const auto* known = std::ranges::find_if(
      kKnownCodes, [code](std::string_view name) { return is_code(code, name); }, &KnownCode::code);
  if (known != std::end(kKnownCodes)) return known;
  return code.starts_with("Throttling.") ? find_code("Throttling") : nullptr;
}

// InternalError.Algo.DataInspectionFailed wraps DataInspectionFailed: tries the whole code, then what follows
// each dot.
const KnownCode* find_wrapped_code(std::string_view code, auto is_wanted) {
  while (true) {
    if (const KnownCode* known = find_code(code); known != nullptr && is_wanted(*known)) return known;
    const size_t dot = code.find('.');
    if (dot == std::string_view::npos) return nullptr;
    code.remove_prefix(dot + 1);
  }
}

// Some messages begin with another code: `<400> InternalError.Algo.DataInspectionFailed: ...`.
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
  if (status == 401) return kAuth;
  if (status == 403 || status == 404) return kApp;
  if (status == 408) return kTimeout;
  if (status == 413) return kTooLarge;
  if (status == 429) return kThrottled;
  return kFailed;
}

// The monthly budget set in the console is used up and its option to stop calls is on. This is a 429 with any
// code, and waiting does not help.
bool names_the_budget(std::string_view message) {
  return contains(message, "Budget Management") || contains(message, "预算管理");
}

UpstreamFault classify_by_code(int status, std::string_view code, std::string_view message) {
  // This code has two meanings: the rate was too high, or the free quota is used up for good.
  const bool is_allocation = code.ends_with("Throttling.AllocationQuota") || code == "insufficient_quota";
  if (is_allocation && contains(message, "Free")) return kQuota;
  // A wrong application id may be reported as a bad parameter.
  const bool is_parameter = code.ends_with("InvalidParameter") || code == "invalid_parameter_error";
  if (is_parameter && (contains(message, "AppId") || contains(message, "app_id"))) return kApp;
  // Arrears may be reported with this code.
  if (is_code(code, "AccessDenied") && contains(message, "in good standing")) return kQuota;
  const auto has_fault = [](const KnownCode& known) { return known.fault.has_value(); };
  for (const std::string_view candidate : {code, code_in_message(message)}) {
    if (const KnownCode* known = find_wrapped_code(candidate, has_fault)) return *known->fault;
  }
  return classify_by_status(status);
}

UpstreamFault classify(int status, std::string_view code, std::string_view message) {
  const UpstreamFault fault = classify_by_code(status, code, message);
  const bool may_be_429 = status == 429 || status < 400 || fault == kThrottled;
  return may_be_429 && names_the_budget(message) ? kQuota : fault;
}

}  // namespace

const Fault& describe(UpstreamFault fault) {
  const auto index = static_cast<size_t>(fault);
  assert(index < std::size(kFaults));
  return kFaults[index];
}

std::string_view error_label(std::string_view code) {
  if (code.empty()) return "none";
  const KnownCode* known = find_wrapped_code(code, [](const KnownCode&) { return true; });
  return known != nullptr ? known->code : "other";
}

UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id) {
  const UpstreamFault fault = classify(http_status, code, message);
  // Only a request that was throttled before it started is certainly free. When a later step of the
  // application is throttled, the status is that of a failure, and the earlier steps are billed.
  const bool is_free = fault == kThrottled && (http_status == 429 || http_status < 400);
  UpstreamError error{fault, std::string(code), std::string(message), std::string(request_id), is_free};
  // Another status than 5xx may blame the question.
  if (fault != kFailed || http_status >= 500) error.cool_down = describe(fault).cool_down;
  return error;
}

HttpError to_http_error(const UpstreamError& error, bool debug, std::string_view api_key) {
  const Fault& fault = describe(error.fault);
  std::string message(fault.words);
  if (debug) {
    for (const std::string* detail : {&error.code, &error.message}) {
      if (!detail->empty()) message += ": " + scrub(*detail, api_key);
    }
  }
  return {fault.http_status, fault.code, message, error.retry_after};
}

}  // namespace bailian
