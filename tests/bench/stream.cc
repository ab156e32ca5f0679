#include "stream.h"

#include <unistd.h>

#include <iostream>
#include <string_view>

namespace bailian::bench {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::string_view kNumber = "{n}";

std::string pace_of(const Options& options) {
  return "interval=" + std::to_string(options.interval.count()) + " batch=" + std::to_string(options.batch) +
         " delay=0";
}

std::string numbered(std::string request, size_t number) {
  const size_t place = request.find(kNumber);
  return place == std::string::npos ? request
                                    : request.replace(place, kNumber.size(), std::to_string(number));
}

}  // namespace

std::string chat_body(Dialect dialect, const std::string& pace) {
  const std::string prompt = "\"[[sim text=clock " + pace + "]] hi\"";
  return dialect == Dialect::kChat ? R"({"last_prompt":)" + prompt + "}"
                                   : R"({"input":{"prompt":)" + prompt +
                                         R"(},"parameters":{"incremental_output":true},"debug":{}})";
}

void Stream::on_bytes(std::string_view bytes, Clock::time_point now) {
  const auto take = [&](int64_t number, int64_t sent_ns) {
    const auto age = now.time_since_epoch() - std::chrono::nanoseconds(sent_ns);
    if (number != ++tokens_) ++tally_.out_of_order;
    tokens_ = number;
    if (number == 1) {
      ++tally_.with_token;
      tally_.first_token.add(now - opened_);
    }
    if (age > std::chrono::seconds(1)) ++tally_.late;
    last_token_ = now;
    if (tally_.measuring) {
      ++tally_.tokens;
      tally_.latency.add(age);
    }
  };
  chunks_.read(bytes, [&](std::string_view body) { scanner_.scan(body, take); });
}

Streams::Streams(Poller& poller, const Options& options)
    : poller_(poller),
      options_(options),
      target_(options.url),
      request_(target_.request("POST", options.headers, chat_body(options.dialect, pace_of(options)))) {
  streams_.reserve(options.streams);
}

void Streams::open(const std::function<void(size_t)>& on_step) {
  const auto start = Clock::now();
  auto last_news = start;
  size_t ready_before = 0;
  size_t next_step = options_.ramp_step;
  const bool shows_progress = ::isatty(STDERR_FILENO) == 1;
  for (;;) {
    const auto now = Clock::now();
    const auto due =
        static_cast<size_t>(std::chrono::duration<double>(now - start).count() * options_.open_rate) + 1;
    while (streams_.size() < std::min(due, options_.streams)) {
      requests_.push_back(numbered(request_, streams_.size()));
      streams_.push_back(std::make_unique<Stream>(poller_, target_, requests_.back(), tally_));
    }
    poller_.wait(streams_.size() < options_.streams ? std::chrono::milliseconds(1)
                                                    : std::chrono::milliseconds(50));

    const size_t ready = tally_.with_token + tally_.lost;
    if (ready != ready_before) last_news = now;
    ready_before = ready;
    if (shows_progress) std::cerr << "\r" << ready << " of " << options_.streams << " streams \r";
    while (on_step && next_step != 0 && tally_.with_token >= next_step) {
      on_step(next_step);
      next_step += options_.ramp_step;
    }
    if (ready >= options_.streams || now - last_news > kPatience) return;
  }
}

size_t Streams::stalled() const {
  const auto now = Clock::now();
  size_t count = 0;
  for (const auto& stream : streams_) {
    if (stream->is_open() && now - stream->last_token() > options_.interval + std::chrono::seconds(1))
      ++count;
  }
  return count;
}

}  // namespace bailian::bench
