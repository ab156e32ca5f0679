#pragma once

#include <memory>

#include "connection.h"
#include "dashscope.h"
#include "gate.h"
#include "http_message.h"
#include "stats.h"

namespace bailian::simulator {

// The endpoints by which tests control the simulator: everything under /control/.
class Control {
 public:
  Control(event_base* base, DashScope& dashscope, Stats& stats, Gate& gate)
      : base_(base), dashscope_(dashscope), stats_(stats), gate_(gate) {}

  std::unique_ptr<Exchange> answer(Connection& connection, const HttpRequest& request);

 private:
  std::unique_ptr<Exchange> answer_get(Connection& connection, const HttpRequest& request);
  std::unique_ptr<Exchange> answer_stats(Connection& connection, const HttpRequest& request);

  event_base* base_;
  DashScope& dashscope_;
  Stats& stats_;
  Gate& gate_;
};

}  // namespace bailian::simulator
