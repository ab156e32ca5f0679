#include "load_options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>
#include <map>

namespace bailian::bench {
namespace {

constexpr int kBadUsage = 64;

ProcessGroup parse_group(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw CLI::ValidationError("--measure", "NAME=PID[,PID...]");
  ProcessGroup group{text.substr(0, equals), {}};
  const char* at = text.data() + equals + 1;
  const char* const end = text.data() + text.size();
  for (;;) {
    pid_t pid = 0;
    const auto [next, error] = std::from_chars(at, end, pid);
    if (error != std::errc() || pid <= 0) throw CLI::ValidationError("--measure", "bad process id: " + text);
    group.pids.push_back(pid);
    if (next == end) return group;
    if (*next != ',') throw CLI::ValidationError("--measure", "bad process id: " + text);
    at = next + 1;
  }
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Puts load on a chat backend and measures it; one JSON object on stdout.\n"
      "The backend's upstream is the simulator, which writes into each text when it was sent.\n"
      "Exit codes: 0 measured, 1 the backend failed, 64 bad usage."};
  const std::map<std::string, Mode> modes{{"streams", Mode::kStreams},
                                          {"requests", Mode::kRequests},
                                          {"cancel", Mode::kCancel},
                                          {"visits", Mode::kVisits}};
  const std::map<std::string, Dialect> dialects{{"chat", Dialect::kChat}, {"dashscope", Dialect::kDashScope}};
  const std::map<std::string, Phase> phases{
      {"streaming", Phase::kStreaming}, {"between", Phase::kBetween}, {"before", Phase::kBefore}};
  double interval_ms = 50;
  double warm_up = 2;
  double window = 5;
  double pause = 0;
  std::vector<std::string> groups;

  app.add_option("mode", options.mode, "streams, requests, cancel or visits")
      ->required()
      ->transform(CLI::CheckedTransformer(modes));
  app.add_option("--url", options.url, "http://HOST:PORT/PATH")->required();
  app.add_option("--header", options.headers,
                 "a request header, 'Name: value'; may be repeated. {n} becomes the number of the stream");
  app.add_option("--dialect", options.dialect, "whose request a stream sends: chat (ours) or dashscope")
      ->transform(CLI::CheckedTransformer(dialects));
  app.add_option("--streams", options.streams, "how many at once (cancel: in the background)");
  app.add_option("--open-rate", options.open_rate, "streams opened a second")->check(CLI::PositiveNumber);
  app.add_option("--interval", interval_ms, "ms between the events of a stream");
  app.add_option("--batch", options.batch, "events that the upstream sends together");
  app.add_option("--ramp-step", options.ramp_step, "report the CPU per new stream for each N opened");
  app.add_option("--warmup", warm_up, "seconds before the window");
  app.add_option("--seconds", window, "seconds measured");
  app.add_option("--clients", options.clients, "requests: connections, each with one request at a time");
  app.add_option("--method", options.method, "requests: GET or POST");
  app.add_option("--body", options.body, "requests: the body");
  app.add_option("--phase", options.phase, "cancel: streaming, between (tokens) or before (the first)")
      ->transform(CLI::CheckedTransformer(phases));
  app.add_option("--count", options.count,
                 "cancel: how many streams to close; visits: how many questions, one after another");
  app.add_option("--simulator", options.simulator, "cancel: HOST:PORT of the simulator");
  app.add_option("--page", options.page, "visits: http://HOST:PORT/PATH, loaded before the first question");
  app.add_option("--pause", pause, "visits: seconds from the page to the first question");
  app.add_option("--measure", groups, "NAME=PID[,PID...]: report CPU and memory of these; may be repeated");
  try {
    app.parse(argc, argv);
    for (const std::string& group : groups) options.groups.push_back(parse_group(group));
    if (options.mode == Mode::kCancel && options.simulator.empty()) throw CLI::RequiredError("--simulator");
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : kBadUsage);  // NOLINT(concurrency-mt-unsafe): one thread
  }
  options.interval = std::chrono::milliseconds(static_cast<int64_t>(interval_ms));
  options.warm_up = std::chrono::duration<double>(warm_up);
  options.pause = std::chrono::duration<double>(pause);
  options.window = std::chrono::duration<double>(window);
  return options;
}

}  // namespace bailian::bench
