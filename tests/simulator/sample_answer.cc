#include "sample_answer.h"

#include "utf8.h"

namespace bailian::simulator {
namespace {

constexpr std::size_t kQuotedChars = 80;

// On one line, shortened.
std::string quoted(std::string_view question) {
  std::string result;
  for (std::size_t chars = 0; !question.empty(); ++chars) {
    if (chars == kQuotedChars) return result + "…";
    const std::size_t length = char_bytes(question);
    const char c = question.front();
    if (c == '\n' || c == '\r' || c == '\t') {
      result += ' ';
    } else {
      result += question.substr(0, length);
    }
    question.remove_prefix(length);
  }
  return result;
}

std::string in_chinese(std::string_view question) {
  return "您问的是：“" + quoted(question) +
         "”\n\n**现在回答您的是 bailian-fcgi 自带的模拟器，不是大模型**，所以我并不知道答案。"
         "不过您的问题已经走完了真实的全程：浏览器、nginx、bailian-fcgi，再到这个 DashScope "
         "替身，然后一个词一个词地流式返回。想得到真正的回答，只需两步：\n\n"
         "- 把 `DASHSCOPE_API_KEY` 和 `APP_ID` 写进 `.env` 文件\n"
         "- 重新执行 `make run`\n\n"
         "其他什么都不用改，这个页面就会显示您的百炼应用的回答。😊";
}

std::string in_english(std::string_view question) {
  return "You asked: “" + quoted(question) +
         "”\n\n**This is the simulator of bailian-fcgi answering, not the model**, so I do not know the "
         "answer. "
         "Your question did travel the whole real way, though: from the browser through nginx and "
         "bailian-fcgi to this stand-in for DashScope, and back word by word. "
         "To get the real answer, take two steps:\n\n"
         "- put `DASHSCOPE_API_KEY` and `APP_ID` into the file `.env`\n"
         "- start `make run` again\n\n"
         "Nothing else changes: this very page will then show what your Bailian application says. 😊";
}

}  // namespace

std::string sample_answer(std::string_view question) {
  return has_han(question) ? in_chinese(question) : in_english(question);
}

}  // namespace bailian::simulator
