#pragma once

#include <string_view>

#include "dialects/dialect.h"

namespace bailian {

/// Reads the body of a myapi chat request. Throws HttpError 400 or 413.
Question parse_myapi_question(std::string_view body, const QuestionLimits& limits);

}  // namespace bailian
