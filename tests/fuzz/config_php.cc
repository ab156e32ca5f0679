// The program can start with the settings imported from an old config.php, and no message contains the key.
#include <algorithm>
#include <string>

#include "base/json.h"
#include "fuzz.h"
#include "import/config_mapper.h"
#include "settings/bot_profile.h"
#include "settings/config.h"
#include "settings/dotenv.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

constexpr size_t kShortestKey = 12;  // a shorter one may be part of a word

void check_setting(const std::string& key, const std::string& value) {
  const Dotenv line = parse_dotenv(dotenv_line(key, value));
  fuzz::expect(line.faults.empty() && line.entries.size() == 1 && line.entries[0].key == key &&
                   line.entries[0].value == value,
               "a setting is read as it was written");
  const auto setting = std::find_if(settings().begin(), settings().end(),
                                    [&](const Setting& known) { return known.key == key; });
  fuzz::expect(setting != settings().end(), "a setting is known");
  Config config;
  fuzz::expect(!setting->apply(config, value), "a setting is accepted");
}

void check_sentence(const std::string& sentence, const std::string& key) {
  fuzz::expect(is_utf8(sentence), "a sentence is text");
  fuzz::expect(
      std::none_of(sentence.begin(), sentence.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }),
      "a sentence has no control character");
  fuzz::expect(key.size() < kShortestKey || sentence.find(key) == std::string::npos,
               "no sentence tells the key");
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  try {
    const ConfigPhp php = read_config_php(fuzz::as_text(data, size));
    std::string api_key;
    for (const auto& [key, value] : php.settings) {
      check_setting(key, value);
      if (key == "DASHSCOPE_API_KEY") api_key = value;
    }
    std::vector<std::string> faults;
    fuzz::expect(parse_bot_profile(php.bot_profile, faults).has_value(), "a profile is accepted");
    for (const auto* sentences : {&php.taken, &php.not_taken, &php.called}) {
      for (const std::string& sentence : *sentences) check_sentence(sentence, api_key);
    }
  } catch (const PhpError& error) {
    check_sentence(error.what(), "");
  }
  return 0;
}
