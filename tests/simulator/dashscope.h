#pragma once

#include <memory>
#include <optional>
#include <string>

#include "connection.h"
#include "gate.h"
#include "http_message.h"
#include "options.h"
#include "planner.h"
#include "stats.h"

namespace bailian::simulator {

// The service the simulator stands in for.
class DashScope {
 public:
  DashScope(event_base* base, const Options& options, Stats& stats, Gate& gate)
      : base_(base), stats_(stats), gate_(gate), planner_(options) {}

  std::unique_ptr<Exchange> answer(Connection& connection, HttpRequest request);

  // The newest request as JSON, with its key masked; empty when there was none.
  std::string last_request_json() const;
  void reset();

 private:
  event_base* base_;
  Stats& stats_;
  Gate& gate_;
  Planner planner_;
  std::optional<HttpRequest> last_request_;
};

}  // namespace bailian::simulator
