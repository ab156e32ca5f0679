#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "base/event_loop.h"

namespace bailian {

/// What a test does on its event loop, step by step: each waits until something holds. A test plays once.
class LoopSteps {
 public:
  /// `describe` tells a test that hangs what has happened so far.
  LoopSteps(EventLoop& loop, std::function<std::string()> describe)
      : loop_(loop), describe_(std::move(describe)) {
    hung_.start(std::chrono::seconds(20));
  }

  /// Once `holds` returns true, runs `action`, after all earlier steps.
  void when(std::function<bool()> holds, std::function<void()> action) {
    steps_.push_back({std::move(holds), std::move(action)});
  }
  /// After enough iterations that all bytes sent before have arrived.
  void when_settled(std::function<void()> action = [] {}) {
    when([left = 50]() mutable { return --left == 0; }, std::move(action));
  }
  /// Takes all steps.
  void play() {
    loop_.post([this] { step(); });
    loop_.run();
  }

 private:
  struct Step {
    std::function<bool()> holds;
    std::function<void()> action;
  };

  void step() {
    if (!steps_.empty() && steps_.front().holds()) {
      const auto action = std::move(steps_.front().action);
      steps_.pop_front();
      action();
    }
    if (steps_.empty()) return loop_.stop();
    loop_.post([this] { step(); });
  }

  void on_hung() {
    ADD_FAILURE() << "waits for what does not happen; so far: " << describe_();
    steps_.clear();
  }

  EventLoop& loop_;
  const std::function<std::string()> describe_;
  Timer hung_{loop_, bind<&LoopSteps::on_hung>(this)};
  std::deque<Step> steps_;
};

}  // namespace bailian
