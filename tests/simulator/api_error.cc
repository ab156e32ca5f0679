#include "api_error.h"

#include <algorithm>

namespace bailian::simulator {
namespace {

struct Published {
  std::string_view code;
  int status;
  std::string_view message;
};

// contract.md §4.2, "occured" as published; the lower-case aliases are those of the compatible mode.
constexpr Published kPublished[] = {
    {"InternalError", 500,
     "An internal error has occured, please try again later or contact service support."},
    {"InternalError.Algo", 500,
     "An internal error has occured, please try again later or contact service support."},
    {"InternalError.Timeout", 500,
     "An internal timeout error has occured during execution, please try again later or contact service "
     "support."},
    {"SystemError", 500, "An system error has occured, please try again later."},
    {"ModelServiceFailed", 500, "Failed to proceed application request."},
    {"AppProcessFailed", 500, "Failed to proceed application request."},
    {"InvokePluginFailed", 500, "Failed to proceed application request."},
    {"RewriteFailed", 500, "Failed to proceed application request."},
    {"RetrivalFailed", 500, "Failed to proceed application request."},
    {"RequestTimeOut", 500, "Request timed out, please try again later."},
    {"ModelServingError", 503,
     "Too many requests. Your requests are being throttled due to system capacity limits. Please try again "
     "later."},
    {"ModelUnavailable", 503, "Model is unavailable, please try again later."},
    {"InvalidParameter", 400,
     "Required parameter(s) missing or invalid, please check the request parameters."},
    {"BadRequest.EmptyInput", 400, "Required input parameter missing from request."},
    {"BadRequest.EmptyParameters", 400, "Required parameter \"parameters\" missing from request."},
    {"BadRequest.EmptyModel", 400, "Required parameter \"model\" missing from request."},
    {"BadRequest.IllegalInput", 400, "The input parameter requires json format."},
    {"BadRequest.TooLarge", 400, "Exceeded limit on max bytes to request body : 6291456"},
    {"BadRequest.InputDownloadFailed", 400, "Failed to download the input file."},
    {"BadRequest.UnsupportedFileFormat", 400, "Input file format is not supported."},
    {"InvalidURL", 400, "Invalid URL provided in your request."},
    {"Arrearage", 400, "Access denied, please make sure your account is in good standing."},
    {"DataInspectionFailed", 400, "Input or output data may contain inappropriate content."},
    {"FlowNotPublished", 400, "Flow has not published yet, please publish flow and try again."},
    {"FaqRuleBlocked", 400, "Input or output data is blocked by faq rule."},
    {"CustomRoleBlocked", 400, "Input or output data may contain inappropriate content with custom rule."},
    {"UnsupportedOperation", 400, "The operation is unsupported on the referee object."},
    {"ClientDisconnect", 400, "Client disconnected before task finished!"},
    {"ServiceUnavailableError", 400,
     "Role must be user or assistant and Content length must be greater than 0"},
    {"InvalidAppId", 400, "App id is invalid."},
    {"App.InvalidAppId", 400, "App id is invalid."},
    {"InvalidApiKey", 401, "Invalid API-key provided."},
    {"AccessDenied", 403, "Access denied."},
    {"AccessDenied.Unpurchased", 403,
     "Access to model denied. Please make sure you are eligible for using the model."},
    {"Model.AccessDenied", 403, "Model access denied."},
    {"App.AccessDenied", 403, "App access denied."},
    {"Workspace.AccessDenied", 403, "Workspace access denied."},
    {"AllocationQuota.FreeTierOnly", 403, "The free tier of the model has been exhausted."},
    {"ModelNotFound", 404, "Model can not be found."},
    {"WorkSpaceNotFound", 404, "WorkSpace can not be found."},
    {"NotFound", 404, "Not found!"},
    {"Throttling", 429, "Requests throttling triggered."},
    {"Throttling.RateQuota", 429, "Requests rate limit exceeded, please try again later."},
    {"LimitRequests", 429, "Requests rate limit exceeded, please try again later."},
    {"Throttling.BurstRate", 429, "Request rate increased too quickly."},
    {"Throttling.AllocationQuota", 429, "Allocated quota exceeded, please increase your quota limit."},
    {"CommodityNotPurchased", 429, "Commodity has not purchased yet."},
    {"PrepaidBillOverdue", 429, "The prepaid bill is overdue."},
    {"insufficient_quota", 429,
     "You exceeded your current quota, please check your plan and billing details."},
    {"limit_requests", 429, "You exceeded your current requests list."},
    {"invalid_api_key", 401, "Incorrect API key provided."},
    {"access_denied", 403, "Access denied."},
    {"model_not_found", 404, "The model does not exist or you do not have access to it."},
    {"data_inspection_failed", 400, "Input or output data may contain inappropriate content."},
    {"invalid_parameter_error", 400,
     "Required parameter(s) missing or invalid, please check the request parameters."},
    {"PostpaidBillOverdue", 429, "The postpaid bill is overdue."},
};

const Published& find_published(std::string_view code) {
  const auto* found = std::find_if(std::begin(kPublished), std::end(kPublished),
                                   [code](const Published& candidate) { return candidate.code == code; });
  return found == std::end(kPublished) ? kPublished[0] : *found;
}

}  // namespace

ApiError::ApiError(std::string_view code)
    : ApiError(find_published(code).status, code, std::string(find_published(code).message)) {}

std::string_view usual_code(int status) {
  switch (status) {
    case 400:
      return "InvalidParameter";
    case 401:
      return "InvalidApiKey";
    case 403:
      return "App.AccessDenied";
    case 404:
      return "NotFound";
    case 408:
      return "RequestTimeOut";
    case 413:
      return "BadRequest.TooLarge";
    case 429:
      return "Throttling.RateQuota";
    case 503:
      return "ModelUnavailable";
    default:
      return "InternalError";
  }
}

}  // namespace bailian::simulator
