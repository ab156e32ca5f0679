// An event stream yields the same events wherever it is cut, and no event contains the blank line that ends
// one.
#include "dashscope/sse.h"

#include <string>
#include <vector>

#include "fuzz.h"

namespace bailian {
namespace {

struct Event {
  std::string name;
  int http_status;
  std::string data;
  bool operator==(const Event&) const = default;
};

class Recorder {
 public:
  std::vector<Event> events;
  bool good = true;

  bool feed(std::string_view bytes) {
    parser_.feed(bytes);
    return read();
  }
  void finish() {
    if (!good) return;
    parser_.finish();
    while (const auto event = parser_.next()) take(*event);
  }

 private:
  bool read() {
    while (const auto event = parser_.next()) take(*event);
    return good = !parser_.is_refused();
  }

  void take(const SseEvent& event) {
    fuzz::expect(event.name.find_first_of("\r\n") == std::string_view::npos, "a name is one line");
    fuzz::expect(event.data.find('\r') == std::string::npos, "no carriage return is left in the data");
    fuzz::expect(event.data.size() <= SseParser::kMaxEventBytes, "an event is bounded");
    fuzz::expect(event.http_status == 0 || (event.http_status >= 100 && event.http_status <= 999),
                 "a status has three digits");
    events.push_back({std::string(event.name), event.http_status, event.data});
    event.data.assign("the caller may parse in place");
  }

  SseParser parser_;
};

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  Recorder whole;
  whole.feed(text);
  whole.finish();
  Recorder cut;
  auto random = fuzz::choices_for(text);
  fuzz::feed_in_pieces(text, random, [&](std::string_view piece) { return cut.feed(piece); });
  cut.finish();
  fuzz::expect(whole.good == cut.good, "cuts do not decide whether a stream is good");
  fuzz::expect(whole.events == cut.events, "cuts do not change the events");
  return 0;
}
