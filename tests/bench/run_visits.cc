#include <cstdlib>
#include <optional>

#include "chunked.h"
#include "connection.h"
#include "runs.h"
#include "stamps.h"
#include "stream.h"

namespace bailian::bench {
namespace {

constexpr std::chrono::seconds kPatience{30};
// The first token and one more, so that the answer is a stream.
constexpr const char* kPace = "delay=0 interval=1 events=2";

/// A visitor who asks one question after another on one connection.
class Visitor : public Connection {
 public:
  Visitor(Poller& poller, const Target& target, std::string_view request)
      : Connection(poller, target, request) {}

  /// Asks the next question; the first one is asked by the constructor.
  void ask() {
    first_token_.reset();
    is_answered_ = false;
    chunks_ = {};
    scanner_ = {};
    end_.clear();
    asked_ = Clock::now();
    send_again();
  }

  [[nodiscard]] bool is_answered() const { return is_answered_; }
  /// From the question to its first token; none if the answer has none.
  [[nodiscard]] std::optional<Clock::duration> first_token() const { return first_token_; }

 private:
  void on_bytes(std::string_view bytes, Clock::time_point now) override {
    chunks_.read(bytes, [&](std::string_view body) {
      scanner_.scan(body, [&](int64_t, int64_t) {
        if (!first_token_) first_token_ = now - asked_;
      });
    });
    constexpr std::string_view kEnd = "\r\n0\r\n\r\n";
    end_.append(bytes);
    if (end_.size() > kEnd.size()) end_.erase(0, end_.size() - kEnd.size());
    is_answered_ = end_ == kEnd;
  }
  void on_end() override {}

  ChunkedReader chunks_;
  StampScanner scanner_;
  std::string end_;
  Clock::time_point asked_ = Clock::now();
  std::optional<Clock::duration> first_token_;
  bool is_answered_ = false;
};

/// Loads the profile as the page of the chat does.
class Page : public Connection {
 public:
  using Connection::Connection;
  [[nodiscard]] bool is_loaded() const { return answer_.starts_with("HTTP/1.1 200 "); }
  [[nodiscard]] bool has_answer() const { return !answer_.empty() || !is_open(); }

 private:
  void on_bytes(std::string_view bytes, Clock::time_point /*now*/) override { answer_ += bytes; }
  void on_end() override {}

  std::string answer_;
};

void wait_until(Poller& poller, const auto& done) {
  const auto until = Clock::now() + kPatience;
  while (!done() && Clock::now() < until) poller.wait(until - Clock::now());
}

bool load_page(Poller& poller, const Options& options) {
  const Target target(options.page);
  const std::string request = target.request("GET", options.headers, "");
  Page page(poller, target, request);
  wait_until(poller, [&] { return page.has_answer(); });
  return page.is_loaded();
}

}  // namespace

bool run_visits(const Options& options, Report& report) {
  Poller poller;
  bool is_good = options.page.empty() || load_page(poller, options);
  poller.wait_for(options.pause);

  const Target target(options.url);
  const std::string request = target.request("POST", options.headers, chat_body(options.dialect, kPace));
  Quantiles first_token;
  size_t answered = 0;
  const auto measured_from = Clock::now() + std::chrono::duration_cast<Clock::duration>(options.warm_up);
  Visitor visitor(poller, target, request);
  while (is_good && answered < options.count) {
    const bool is_measured = Clock::now() >= measured_from;
    wait_until(poller, [&] { return visitor.is_answered() || !visitor.is_open(); });
    is_good = visitor.is_answered() && visitor.first_token();
    if (is_good && is_measured) {
      first_token.add(*visitor.first_token());
      ++answered;
    }
    if (is_good && answered < options.count) visitor.ask();
  }

  report.add("mode", std::string_view("visits"));
  report.add("answered", answered);
  report.add("unanswered", options.count - answered);
  report.add("first_token_us", first_token);
  return is_good;
}

}  // namespace bailian::bench
