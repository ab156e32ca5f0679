#pragma once

#include <string_view>

#include "dialects/dialect.h"

namespace bailian {

/// The JSON of the WordPress plugin that this program replaces. Old front ends fix its names and texts.
extern const Dialect kMyapi;

/// Reads the body of a chat request. Throws HttpError 400 or 413.
Question parse_myapi_question(std::string_view body, const QuestionLimits& limits);

}  // namespace bailian
