// A setting that was read can be written and read again, and every fault names a line of the file.
#include "settings/dotenv.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "fuzz.h"

namespace bailian {
namespace {

bool is_key(std::string_view key) {
  return !key.empty() && key.find_first_of("=# \t\r\n\v\f") == std::string_view::npos;
}

std::string written_down(const Dotenv& dotenv) {
  std::string text;
  for (const DotenvEntry& entry : dotenv.entries) {
    text.append("export ").append(entry.key);
    if (entry.value) text += " = \"";
    for (const char c : entry.value.value_or("")) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += entry.value ? "\" # comment\n" : " # comment\n";
  }
  return text;
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  const Dotenv dotenv = parse_dotenv(text);
  int line = 0;
  for (const DotenvEntry& entry : dotenv.entries) {
    fuzz::expect(is_key(entry.key), "a key has only a key's characters");
    fuzz::expect(entry.line > line && entry.line <= lines, "entries stand on lines of the file, in order");
    line = entry.line;
  }
  line = 0;
  for (const DotenvFault& fault : dotenv.faults) {
    fuzz::expect(fault.line > line && fault.line <= lines, "faults stand on lines of the file, in order");
    line = fault.line;
  }
  const Dotenv again = parse_dotenv(written_down(dotenv));
  fuzz::expect(again.faults.empty(), "what was read can be written down without a fault");
  fuzz::expect(
      std::equal(
          again.entries.begin(), again.entries.end(), dotenv.entries.begin(), dotenv.entries.end(),
          [](const DotenvEntry& a, const DotenvEntry& b) { return a.key == b.key && a.value == b.value; }),
      "what was written down is read as it was");

  std::vector<std::string> missing;
  const auto find = [](const std::string& name) {
    return name.size() % 2 == 0 ? std::optional(name) : std::nullopt;
  };
  const auto expanded = expand_variables(text, find, missing);
  fuzz::expect(!expanded || expanded->size() <= text.size(),
               "a variable that stands for its own name is no longer than written");
  return 0;
}
