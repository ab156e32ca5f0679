// Either a profile is valid, and so is the one that browsers receive, or every fault is reported.
#include "settings/bot_profile.h"

#include "base/json.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  constexpr size_t kMaxFaultBytes = 200;
  std::vector<std::string> faults;
  const auto profile = parse_bot_profile(fuzz::as_text(data, size), faults);
  fuzz::expect(profile.has_value() == faults.empty(), "a refused profile has a fault, a good one has none");
  if (profile) {
    const auto again = parse_bot_profile(profile->json, faults);
    fuzz::expect(again && again->json == profile->json, "a written profile is read as it was");
    fuzz::expect(again->etag == profile->etag, "one profile has one tag");
  }
  for (const std::string& fault : faults) {
    fuzz::expect(!fault.empty() && is_utf8(fault), "a fault is text");
    fuzz::expect(fault.size() <= kMaxFaultBytes + size, "a fault is bounded");
  }
  return 0;
}
