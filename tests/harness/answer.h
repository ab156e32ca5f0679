#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/browser.h"
#include "harness/json.h"

namespace bailian::e2e {

// A streamed answer, read to its end. Each event is checked as it is read: its shape and size, whole events
// in every HTTP chunk, exactly one terminal event and nothing after it.
struct StreamedAnswer {
  std::string text;                 // all pieces joined
  std::vector<std::string> pieces;  // the content of each text event
  Json last;                        // the terminal event
  int heartbeats = 0;
};
// When a browser reads more slowly than the answer arrives, nginx fills its buffer, and chunks may cut
// events.
enum class Chunks { kHoldWholeEvents, kMayCutEvents };
StreamedAnswer read_stream(Exchange& exchange, Chunks chunks = Chunks::kHoldWholeEvents);
StreamedAnswer read_stream(Exchange&& exchange);

// The content of the next event, which must be a text event.
std::string read_text(Exchange& exchange);

// `tok1 tok2 ... tokN `, the answer to `events=N`.
std::string tokens(int count);

// Checks an answer that failed before anything was sent: the shape of its body, headers, status and code.
void expect_error(const Response& answer, int status, std::string_view code, std::string_view message_start);

// Checks a stream that failed after it was opened.
void expect_failed(const StreamedAnswer& answer, std::string_view code);

}  // namespace bailian::e2e
