#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "processes.h"

namespace bailian::bench {

enum class Mode { kStreams, kRequests, kCancel, kVisits };
enum class Dialect { kChat, kDashScope };
enum class Phase { kStreaming, kBetween, kBefore };

struct Options {
  Mode mode = Mode::kStreams;
  std::string url;
  std::vector<std::string> headers;  // whole lines
  Dialect dialect = Dialect::kChat;
  std::string method = "POST";
  std::string body;

  std::size_t streams = 0;
  double open_rate = 500;  // a second
  std::chrono::milliseconds interval{50};
  std::size_t batch = 1;
  std::size_t ramp_step = 0;
  std::size_t clients = 32;
  std::chrono::duration<double> warm_up{2};
  std::chrono::duration<double> window{5};

  Phase phase = Phase::kStreaming;
  std::size_t count = 100;
  std::string simulator;  // HOST:PORT

  std::string page;  // URL; empty: no page is loaded
  std::chrono::duration<double> pause{0};

  std::vector<ProcessGroup> groups;
};

/// Ends the program for --help and on bad usage.
Options parse_options(int argc, char** argv);

}  // namespace bailian::bench
