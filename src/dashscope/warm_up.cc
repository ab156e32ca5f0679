#include "dashscope/warm_up.h"

#include <cassert>

#include "base/log.h"

namespace bailian {
namespace {

// As long as a connection may be idle: shorter intervals would cost more requests, and with longer ones the
// connection would not last.
constexpr std::chrono::seconds kInterval{10};
// How soon a connection that is fresh now is looked at again.
constexpr std::chrono::seconds kNextLook{5};
constexpr int kLooks = 6;  // within a minute

}  // namespace

WarmUp::WarmUp(EventLoop& loop, HttpClient& client, const std::string& base_url,
               std::chrono::milliseconds connect_timeout)
    : client_(client),
      endpoint_(base_url, {}),
      connect_timeout_(connect_timeout),
      next_(loop, bind<&WarmUp::on_timer>(this), bind<&WarmUp::on_exception>(this)),
      time_limit_(loop, bind<&WarmUp::on_time_limit>(this)) {}

void WarmUp::expect_question(Metrics& metrics) noexcept {
  metrics_ = &metrics;
  looks_left_ = kLooks;
  if (is_expecting_) return;
  try {
    on_timer();
  } catch (const std::exception& error) {
    on_exception(error);
  }
}

void WarmUp::stop() noexcept {
  is_expecting_ = false;
  next_.cancel();
  time_limit_.cancel();
  transfer_.reset();
}

void WarmUp::on_timer() {
  is_expecting_ = false;
  if (looks_left_ == 0) return;
  --looks_left_;
  const bool is_warm = transfer_ || client_.has_fresh_connection();
  next_.start(is_warm ? kNextLook : kInterval);
  is_expecting_ = true;
  if (!is_warm) begin();
}

void WarmUp::begin() {
  assert(!transfer_);
  time_limit_.start(2 * connect_timeout_);
  transfer_ = client_.head(endpoint_, connect_timeout_, *this);
}

void WarmUp::on_time_limit() { end(WarmUpResult::kFailed, "no response in time"); }

void WarmUp::on_done(const TransferResult& result) {
  if (result.fault != TransferFault::kNone) return end(WarmUpResult::kFailed, result.detail);
  end(result.is_kept ? WarmUpResult::kKept : WarmUpResult::kOpened, "");
}

void WarmUp::on_exception(const std::exception& error) noexcept { end(WarmUpResult::kFailed, error.what()); }

void WarmUp::end(WarmUpResult result, std::string_view detail) noexcept {
  time_limit_.cancel();
  transfer_.reset();
  metrics_->count_warm_up(result);
  if (result == WarmUpResult::kFailed) log(LogLevel::kDebug, "warm_up_failed", detail);
}

}  // namespace bailian
