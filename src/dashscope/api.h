#pragma once

#include <string>

#include "base/access_record.h"
#include "dashscope/chat_types.h"
#include "settings/config.h"

namespace bailian {

// DashScope's JSON for `POST /apps/{APP_ID}/completion`, as its documentation, its SDKs and captures have it.

/// The body of a completion request. The client-side history goes as `messages`; a session id is used only
/// alone with the prompt, because the upstream ignores it beside `messages`.
std::string completion_body(const Question& chat, const Config& config, AnswerMode mode);

}  // namespace bailian
