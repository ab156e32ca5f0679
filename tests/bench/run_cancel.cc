#include <netdb.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "runs.h"
#include "stream.h"

namespace bailian::bench {
namespace {

/// Asks the simulator for its counters.
class Simulator {
 public:
  explicit Simulator(const std::string& host_and_port) : url_("http://" + host_and_port + "/control/stats") {}

  [[nodiscard]] int64_t figure(std::string_view name) const { return field(stats(""), name); }
  /// Whether the counter `name` reaches the value within 5 s.
  [[nodiscard]] bool reaches(const std::string& name, int64_t value) const {
    return stats("?wait=" + name + "&at_least=" + std::to_string(value)).starts_with("HTTP/1.1 200 ");
  }

 private:
  [[nodiscard]] std::string stats(const std::string& query) const {
    const Target target(url_ + query);
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string request = target.request("GET", {"Connection: close"}, "");
    std::string answer;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&target.address), sizeof target.address) != 0 ||
        ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(request.size())) {
      throw std::runtime_error("the simulator does not answer");
    }
    char buffer[4096];
    for (ssize_t count = 0; (count = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(count));
    }
    return answer;
  }

  static int64_t field(const std::string& answer, std::string_view name) {
    const std::string key = '"' + std::string(name) + "\":";
    const auto at = answer.find(key);
    if (at == std::string::npos) throw std::runtime_error("the simulator does not know " + std::string(name));
    return std::strtoll(answer.c_str() + at + key.size(), nullptr, 10);
  }

  std::string url_;
};

std::string pace(Phase phase) {
  switch (phase) {
    case Phase::kStreaming:
      return "delay=0 interval=5";
    case Phase::kBetween:
      return "delay=0 interval=30000";
    case Phase::kBefore:
      break;
  }
  return "delay=60000";
}

// Tokens to wait for before the browser leaves.
int64_t tokens_before_close(Phase phase) {
  switch (phase) {
    case Phase::kStreaming:
      return 5;
    case Phase::kBetween:
      return 1;
    case Phase::kBefore:
      break;
  }
  return 0;
}

}  // namespace

bool run_cancel(const Options& options, Report& report) {
  Poller poller;
  Streams background(poller, options);
  if (options.streams != 0) background.open();
  const Simulator simulator(options.simulator);
  const Target target(options.url);
  const std::string request =
      target.request("POST", options.headers, chat_body(options.dialect, pace(options.phase)));
  const int64_t wanted_tokens = tokens_before_close(options.phase);

  Quantiles close_time;
  size_t unnoticed = 0;
  size_t done = 0;
  Tally tally;
  for (; done < options.count && unnoticed == 0 && tally.lost == 0; ++done) {
    const int64_t cut_before = simulator.figure("cut");
    const int64_t requests_before = simulator.figure("requests");
    Stream stream(poller, target, request, tally);
    while (stream.tokens() < wanted_tokens && stream.is_open()) poller.wait(std::chrono::seconds(1));
    while (stream.is_open() && simulator.figure("requests") == requests_before) {
      poller.wait(std::chrono::milliseconds(1));
    }
    const auto closed = Clock::now();
    stream.close();
    if (simulator.reaches("cut", cut_before + 1)) {
      close_time.add(std::chrono::nanoseconds(simulator.figure("last_cut_ns")) - closed.time_since_epoch());
    } else {
      ++unnoticed;
    }
  }

  report.add("mode", std::string_view("cancel"));
  report.add("count", done);
  report.add("background_streams", options.streams);
  report.add("unnoticed_after_5s", unnoticed);
  report.add("lost", tally.lost + background.tally().lost);
  report.add("close_us", close_time);
  return unnoticed == 0 && tally.lost == 0;
}

}  // namespace bailian::bench
