#pragma once

#include <string>
#include <string_view>

namespace bailian::simulator {

// What somebody reads who tries the chat page without a key: Markdown that quotes the question and says who
// is answering, in Chinese if the question has Han characters, else in English.
std::string sample_answer(std::string_view question);

}  // namespace bailian::simulator
