#pragma once

#include <string>

#include "base/access_record.h"
#include "dashscope/chat_types.h"
#include "settings/config.h"

namespace bailian {

// DashScope's JSON for `POST /apps/{APP_ID}/completion`, according to its documentation, its SDKs and
// captures.

/// The body of a completion request. A client-side history is sent as `messages`. A session id is sent only
/// with the prompt alone, because the upstream ignores it next to `messages`.
std::string completion_body(const Question& chat, const Config& config, AnswerMode mode);

}  // namespace bailian
