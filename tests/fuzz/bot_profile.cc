// A profile is either valid, and what browsers receive is a valid profile too, or every fault is reported.
#include "settings/bot_profile.h"

#include "base/json.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  constexpr size_t kMaxFaultBytes = 200;
  try {
    const BotProfile profile = parse_bot_profile(fuzz::as_text(data, size));
    const BotProfile again = parse_bot_profile(profile.json);
    fuzz::expect(again.json == profile.json, "a written profile is read as it was");
    fuzz::expect(again.etag == profile.etag, "one profile has one tag");
  } catch (const BotProfileError& error) {
    fuzz::expect(!error.faults().empty(), "a refused profile has a fault");
    for (const std::string& fault : error.faults()) {
      fuzz::expect(!fault.empty() && is_utf8(fault), "a fault is text");
      fuzz::expect(fault.size() <= kMaxFaultBytes + size, "a fault is bounded");
    }
  }
  return 0;
}
