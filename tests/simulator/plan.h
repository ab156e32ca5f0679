#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "http_message.h"
#include "libevent.h"
#include "script.h"

namespace bailian::simulator {

enum class Start { kAnswer, kReset, kHang };

// How one request will be answered, faults included.
struct Plan {
  Start start = Start::kAnswer;

  GatewayHead head;
  bool from_proxy = false;  // not from DashScope, so without its headers
  Headers more_headers;
  std::unique_ptr<Script> script;

  milliseconds delay{0};     // before the first byte
  milliseconds interval{0};  // between events; 0: as fast as the client reads
  std::size_t batch = 1;     // events in a chunk
  std::size_t chunk_bytes =
      0;                 // the body in chunks of this size, one write each; 0: one chunk for each event
  bool dribble = false;  // one byte an interval
  std::optional<std::size_t> hold;  // stop after this many text events; 0: before the first byte
  bool close_idle = false;
};

}  // namespace bailian::simulator
