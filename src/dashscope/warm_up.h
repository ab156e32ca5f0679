#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "dashscope/http_client.h"
#include "telemetry/metrics.h"

namespace bailian {

/// Keeps a connection to the upstream ready for the next question, so that its visitor does not wait for a
/// name lookup, TCP and TLS. A HEAD request for the base URL opens it, without key, application or content:
/// there is nobody whom the upstream could bill. Loop thread only.
class WarmUp final : private TransferHandler {
 public:
  /// `client` must outlive it. A request is cancelled after twice the timeout. Throws std::bad_alloc.
  WarmUp(EventLoop& loop, HttpClient& client, const std::string& base_url,
         std::chrono::milliseconds connect_timeout);

  /// A question may come within a minute: unless there is a fresh connection, one is opened, now and whenever
  /// it becomes old. At most one request is under way, and at most one begins in 10 s. A failure is only
  /// counted and logged for debugging. `metrics` must outlive this.
  void expect_question(Metrics& metrics) noexcept;
  /// Expects no question any more, and cancels the request.
  void stop() noexcept;

 private:
  void on_timer();
  void on_time_limit();
  void begin();
  void end(WarmUpResult result, std::string_view detail) noexcept;
  bool on_data(const ResponseHead&, std::string_view) override { return true; }
  void on_done(const TransferResult& result) override;
  void on_exception(const std::exception& error) noexcept override;

  HttpClient& client_;
  const RequestTemplate endpoint_;
  const std::chrono::milliseconds connect_timeout_;
  Metrics* metrics_ = nullptr;
  std::unique_ptr<Transfer> transfer_;
  bool is_expecting_ = false;  // next_ runs
  int looks_left_ = 0;         // at whether there is a fresh connection
  Timer next_;
  Timer time_limit_;
};

}  // namespace bailian
