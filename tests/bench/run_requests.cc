#include <deque>

#include "connection.h"
#include "meter.h"
#include "runs.h"

namespace bailian::bench {
namespace {

/// A client that repeats its request as soon as it is answered.
class ShortClient : public Connection {
 public:
  struct Tally {
    bool measuring = false;
    size_t answered = 0;
    size_t failed = 0;
    size_t ended = 0;  // connections that the server closed between two answers
    Quantiles latency;
  };

  ShortClient(Poller& poller, const Target& target, std::string_view request, Tally& tally)
      : Connection(poller, target, request), tally_(tally) {}

 private:
  void on_bytes(std::string_view bytes, Clock::time_point now) override {
    answer_ += bytes;
    if (!is_whole()) return;
    if (tally_.measuring) {
      if (answer_.starts_with("HTTP/1.1 200 ")) {
        ++tally_.answered;
        tally_.latency.add(now - sent_);
      } else {
        ++tally_.failed;
      }
    }
    answer_.clear();
    sent_ = Clock::now();
    send_again();
  }

  void on_end() override {
    if (answer_.empty()) {
      ++tally_.ended;
    } else {
      ++tally_.failed;
    }
  }

  [[nodiscard]] bool is_whole() const {
    const auto body = answer_.find("\r\n\r\n");
    if (body == std::string::npos) return false;
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const auto length = answer_.find(kLength);
    if (length < body) {
      return answer_.size() >=
             body + 4 + std::strtoul(answer_.c_str() + length + kLength.size(), nullptr, 10);
    }
    return answer_.ends_with("\r\n0\r\n\r\n");
  }

  Tally& tally_;
  std::string answer_;
  Clock::time_point sent_ = Clock::now();
};

}  // namespace

bool run_requests(const Options& options, Report& report) {
  Meter meter(options.groups);
  Poller poller;
  const Target target(options.url);
  const std::string request = target.request(options.method, options.headers, options.body);
  ShortClient::Tally tally;
  std::deque<ShortClient> clients;
  for (size_t i = 0; i < options.clients; ++i) clients.emplace_back(poller, target, request, tally);

  poller.wait_for(options.warm_up);
  meter.start();
  tally.measuring = true;
  poller.wait_for(options.window);
  tally.measuring = false;
  meter.stop();
  const size_t failed = tally.failed + tally.ended;

  report.add("mode", std::string_view("requests"));
  report.add("requests", tally.answered);
  report.add("failed", failed);
  report.add("seconds", meter.seconds());
  report.add("per_second", static_cast<double>(tally.answered) / meter.seconds());
  report.add("latency_us", tally.latency);
  meter.write(report, "request", tally.answered, 0);
  return failed == 0 && tally.answered > 0;
}

}  // namespace bailian::bench
