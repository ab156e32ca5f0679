#include "access.h"

#include <event2/http.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "api_error.h"

namespace bailian::simulator {
namespace {

// The APP_ID in /api/v1/apps/{APP_ID}/completion.
std::optional<std::string> app_of(std::string_view path) {
  constexpr std::string_view kBefore = "/api/v1/apps/";
  constexpr std::string_view kBehind = "/completion";
  if (!path.starts_with(kBefore) || !path.ends_with(kBehind)) return std::nullopt;
  if (path.size() <= kBefore.size() + kBehind.size()) return std::nullopt;
  const std::string encoded(path.substr(kBefore.size(), path.size() - kBefore.size() - kBehind.size()));
  if (encoded.find('/') != std::string::npos) return std::nullopt;
  std::size_t length = 0;
  char* decoded = evhttp_uridecode(encoded.c_str(), 0, &length);
  if (decoded == nullptr) return std::nullopt;
  std::string app(decoded, length);
  std::free(decoded);
  return app;
}

}  // namespace

bool asks_for_stream(const HttpRequest& request) {
  return request.header("x-dashscope-sse") == "enable" ||
         request.header("accept").find("text/event-stream") != std::string_view::npos;
}

std::string_view api_key(const HttpRequest& request) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view value = request.header("authorization");
  return value.starts_with(kScheme) ? value.substr(kScheme.size()) : std::string_view();
}

bool asks_for_quotas(const HttpRequest& request) {
  return !request.is_post && !request.is_head && request.path == "/api/v1/quotas";
}

void check_key(const HttpRequest& request, const Options& options) {
  const std::string_view key = api_key(request);
  const bool is_known =
      options.api_key.empty() ? key.starts_with("sk-") && key.size() > 3 : key == options.api_key;
  if (!is_known) throw ApiError("InvalidApiKey");
}

void check_access(const HttpRequest& request, const Options& options) {
  const auto app = app_of(request.path);
  if (!app || !request.is_post) throw ApiError("NotFound");
  check_key(request, options);
  if (!options.app_id.empty() && *app != options.app_id) throw ApiError("App.AccessDenied");
  // contract.md §1.2; "disable" and the like are not for applications.
  const std::string_view inspection = request.header("x-dashscope-datainspection");
  if (!inspection.empty() && inspection != "enable" && inspection != R"({"input":"cip","output":"cip"})")
    throw ApiError(400, "InvalidParameter", "X-DashScope-DataInspection is not valid");
  if (request.header("x-dashscope-workspace") == "ws-unknown") throw ApiError("WorkSpaceNotFound");
}

}  // namespace bailian::simulator
