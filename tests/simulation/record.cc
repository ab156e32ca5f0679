#include "simulation/record.h"

#include <charconv>

namespace bailian::simulation {

Record* record = nullptr;

Question& Record::named_in(std::string_view text) {
  const size_t start = text.find('#');
  int number = -1;
  if (start != text.npos) std::from_chars(text.data() + start + 1, text.data() + text.size(), number);
  if (number < 0 || static_cast<size_t>(number) >= questions_.size())
    violated(fmt::format("sends a question that no visitor has asked: {}", text));
  Question* question = &questions_[static_cast<size_t>(number)];
  while (question->repeated_by != nullptr) question = question->repeated_by;
  return *question;
}

}  // namespace bailian::simulation
