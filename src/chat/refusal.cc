#include "chat/refusal.h"

#include <array>
#include <cassert>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

using enum Refusal::Cause;

struct RefusalRow {
  Refusal::Cause value;
  int status;
  std::string_view code;   // in our answer
  std::string_view words;  // likewise
  HttpError::Retry retry = HttpError::Retry::kForbidden;
};
constexpr std::array kRefusals = {
    RefusalRow{kUsedUp, 429, "budget_used_up", "The budget is used up"},
    RefusalRow{kVisitorUsedUp, 429, "visitor_budget_used_up", "Your budget for today is used up"},
    RefusalRow{kPaused, 503, "paused", "The chat is paused"},
    RefusalRow{kUnknown, 503, "budget_unknown", "The budget cannot be checked"},
    RefusalRow{kUnderWay, 409, "idempotency_in_progress",
               "The question with this Idempotency-Key is being answered", HttpError::Retry::kAllowed},
};
static_assert(has_a_row_for_each(kRefusals, static_cast<size_t>(kUnderWay) + 1));

}  // namespace

HttpError to_http_error(const Refusal& refusal) {
  const RefusalRow& row = kRefusals.at(static_cast<size_t>(refusal.cause));
  const bool has_words = !refusal.message.empty() && is_utf8(refusal.message);
  const std::string_view words = has_words ? utf8_prefix(refusal.message, kMaxPauseMessageBytes) : row.words;
  return {row.status, row.code, std::string(words), refusal.retry_after, row.retry};
}

}  // namespace bailian
