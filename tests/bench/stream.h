#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "chunked.h"
#include "connection.h"
#include "load_options.h"
#include "quantiles.h"
#include "stamps.h"

namespace bailian::bench {

/// The totals of all streams of a run.
struct Tally {
  size_t with_token = 0;  // streams that have received a token
  size_t lost = 0;        // streams that ended by themselves
  size_t out_of_order = 0;
  size_t late = 0;  // tokens more than a second old
  bool measuring = false;
  size_t tokens = 0;  // while measuring, as `latency`
  Quantiles latency;
  Quantiles first_token;  // from the sending of the request, of all streams
};

/// One chat, read as a browser would.
class Stream : public Connection {
 public:
  Stream(Poller& poller, const Target& target, std::string_view request, Tally& tally)
      : Connection(poller, target, request), tally_(tally) {}

  [[nodiscard]] int64_t tokens() const { return tokens_; }
  /// When the last token arrived; the epoch if none has.
  [[nodiscard]] Clock::time_point last_token() const { return last_token_; }

 private:
  void on_bytes(std::string_view bytes, Clock::time_point now) override;
  void on_end() override { ++tally_.lost; }

  Tally& tally_;
  ChunkedReader chunks_;
  StampScanner scanner_;
  Clock::time_point opened_ = Clock::now();
  Clock::time_point last_token_;
  int64_t tokens_ = 0;
};

/// The streams of a run, and the request that each of them sends.
class Streams {
 public:
  Streams(Poller& poller, const Options& options);

  /// Opens `options.streams` at their rate and returns when each has its first token or has ended, or when no
  /// token has arrived for 30 s. Calls `on_step(opened)` after each `ramp_step`.
  void open(const std::function<void(size_t)>& on_step = {});
  /// Streams whose next token is more than a second late.
  [[nodiscard]] size_t stalled() const;
  [[nodiscard]] size_t size() const { return streams_.size(); }
  [[nodiscard]] Tally& tally() { return tally_; }

 private:
  Poller& poller_;
  const Options& options_;
  Target target_;
  std::string request_;
  std::deque<std::string> requests_;  // of the streams
  Tally tally_;
  std::vector<std::unique_ptr<Stream>> streams_;
};

/// The body of a chat that makes the simulator answer at this pace.
std::string chat_body(Dialect dialect, const std::string& pace);

}  // namespace bailian::bench
