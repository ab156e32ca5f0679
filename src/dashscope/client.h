#pragma once

#include <memory>
#include <string>

#include "base/access_record.h"
#include "base/event_loop.h"
#include "dashscope/http_client.h"
#include "dashscope/target_health.h"
#include "dashscope/warm_up.h"
#include "settings/config.h"

namespace bailian {

/// Posts requests to one target, on one event loop.
class DashScopeClient {
 public:
  /// `config` and its `target` must outlive the client. Throws std::bad_alloc.
  DashScopeClient(EventLoop& loop, const Config& config, const Target& target,
                  std::shared_ptr<TargetHealth> health);

  [[nodiscard]] const Target& target() const { return target_; }
  [[nodiscard]] TargetHealth& health() const { return *health_; }

  /// See HttpClient::post().
  std::unique_ptr<Transfer> post(AnswerMode mode, std::shared_ptr<const std::string> body,
                                 TransferHandler& handler);

  /// Makes a connection ready for a question that may come soon, unless WARM_UP=off. `metrics` must outlive
  /// the client.
  void expect_question(Metrics& metrics) noexcept;
  void stop_expecting() noexcept { warm_up_.stop(); }

 private:
  const Config& config_;
  const Target& target_;
  const std::shared_ptr<TargetHealth> health_;
  RequestTemplate stream_endpoint_;
  RequestTemplate json_endpoint_;
  HttpClient http_;
  WarmUp warm_up_;
};

}  // namespace bailian
