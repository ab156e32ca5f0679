#include "dashscope/client.h"

#include <utility>
#include <vector>

namespace bailian {
namespace {

std::chrono::milliseconds connect_timeout(const Config& config) {
  return std::chrono::ceil<std::chrono::milliseconds>(config.connect_timeout);
}

std::string completion_url(const Target& target) {
  return target.base_url + "/apps/" + percent_encode(target.app_id) + "/completion";
}

std::vector<std::string> request_headers(const Config& config, const Target& target, AnswerMode mode) {
  std::vector<std::string> headers = {"Authorization: Bearer " + target.api_key,
                                      "Content-Type: application/json", "Expect:"};
  if (mode == AnswerMode::kStream) {
    // The documentation requires either; both SDKs send both, because some models need the second.
    headers.insert(headers.end(), {"Accept: text/event-stream", "X-DashScope-SSE: enable"});
  } else {
    headers.emplace_back("Accept: application/json");
  }
  if (!target.workspace.empty()) headers.push_back("X-DashScope-WorkSpace: " + target.workspace);
  if (config.is_moderated)
    headers.emplace_back(R"(X-DashScope-DataInspection: {"input":"cip","output":"cip"})");
  return headers;
}

}  // namespace

DashScopeClient::DashScopeClient(EventLoop& loop, const Config& config, const Target& target,
                                 std::shared_ptr<TargetHealth> health)
    : config_(config),
      target_(target),
      health_(std::move(health)),
      stream_endpoint_(completion_url(target), request_headers(config, target, AnswerMode::kStream)),
      json_endpoint_(completion_url(target), request_headers(config, target, AnswerMode::kJson)),
      http_(loop, target.base_url),
      warm_up_(loop, http_, target.base_url, connect_timeout(config)) {}

std::unique_ptr<Transfer> DashScopeClient::post(AnswerMode mode, std::shared_ptr<const std::string> body,
                                                TransferHandler& handler) {
  return http_.post(mode == AnswerMode::kStream ? stream_endpoint_ : json_endpoint_, std::move(body),
                    connect_timeout(config_), handler);
}

void DashScopeClient::expect_question(Metrics& metrics) noexcept {
  if (config_.warm_up) warm_up_.expect_question(metrics);
}

}  // namespace bailian
