// No scrubbed text contains the key, wherever it was. The first line of the input is the key; `@` in the
// others stands for it.
#include <algorithm>
#include <string>

#include "base/json.h"
#include "base/key_mask.h"
#include "base/text.h"
#include "fuzz.h"

namespace bailian {
namespace {

constexpr size_t kMaxBytes = 500;
constexpr size_t kShortestKey = 8;
constexpr std::string_view kKeyChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

std::string with_key(std::string_view text, std::string_view key) {
  std::string filled;
  for (const char c : text) {
    if (c == '@') {
      filled += key;
    } else {
      filled += c;
    }
  }
  return filled;
}

// Anything that starts like a key and is at least as long as the shortest.
bool holds_a_key(std::string_view text) {
  for (size_t at = 0; (at = text.find("sk-", at)) != std::string_view::npos; ++at) {
    const size_t end = std::min(text.find_first_not_of(kKeyChars, at), text.size());
    if (end - at >= kShortestKey) return true;
  }
  return false;
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view input = fuzz::as_text(data, size);
  const size_t line_end = std::min(input.find('\n'), input.size());
  const std::string_view key = input.substr(0, line_end);
  if (key.size() < kShortestKey || key.find_first_not_of(kKeyChars) != std::string_view::npos) return -1;
  const std::string text = with_key(input.substr(line_end), key);
  const std::string clean = scrub(text, key);
  fuzz::expect(clean.find(key) == std::string::npos, "the key is gone");
  fuzz::expect(!holds_a_key(clean), "what looks like a key is gone");
  fuzz::expect(clean.size() <= kMaxBytes, "a scrubbed text is short");
  for (size_t at = 0; at < clean.size(); ++at) {
    fuzz::expect(control_character_bytes(std::string_view(clean).substr(at)) == 0,
                 "a scrubbed text is one line without controls");
  }
  fuzz::expect(is_utf8(clean), "a scrubbed text is text");
  return 0;
}
