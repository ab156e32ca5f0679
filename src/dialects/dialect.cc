#include "dialects/dialect.h"

namespace bailian {
namespace {

// The upstream recovers from throttling within about a minute and seldom names a time itself.
constexpr std::string_view kThrottledRetryAfter = "10";
constexpr std::string_view kBusyRetryAfter = "5";

}  // namespace

void add_retry_headers(const HttpError& error, Headers& headers) {
  const auto seconds = error.retry_after().count();
  if ((error.status() == 429 || error.status() == 409) && seconds > 0) {
    headers.emplace_back("Retry-After", std::to_string(seconds));
  } else if (error.status() == 429 && !error.forbids_retry()) {
    headers.emplace_back("Retry-After", kThrottledRetryAfter);
  } else if (error.code() == "overloaded") {
    headers.emplace_back("Retry-After", kBusyRetryAfter);
  }
  if (error.forbids_retry()) headers.emplace_back("x-should-retry", "false");
}

}  // namespace bailian
