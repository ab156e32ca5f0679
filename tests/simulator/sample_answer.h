#pragma once

#include <string>
#include <string_view>

namespace bailian::simulator {

// The answer for users who try the chat page without a key: Markdown that quotes the question and explains
// that this is a simulator; in Chinese when the question has Han characters, otherwise in English.
std::string sample_answer(std::string_view question);

}  // namespace bailian::simulator
