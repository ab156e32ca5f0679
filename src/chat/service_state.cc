#include "chat/service_state.h"

#include <unistd.h>

#include <chrono>

namespace bailian {

std::vector<StatusFigure> status_figures(const ServiceState& state) {
  const StatusBoard& board = state.board;
  const Totals totals = state.metrics.totals();
  const auto ended = [&totals](Outcome outcome) { return totals.requests.at(static_cast<size_t>(outcome)); };
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - board.started);
  return {{"program", "bailian-fcgi"},
          {"version", BAILIAN_VERSION},
          {"pid", static_cast<uint64_t>(::getpid())},
          {"start time", board.start_time},
          {"uptime", static_cast<uint64_t>(uptime.count())},
          {"state", state.draining        ? "draining"
                    : state.misconfigured ? "misconfigured"
                                          : "accepting"},
          {"listening", board.address},
          {"workers", static_cast<uint64_t>(board.loops().size())},
          {"active streams", static_cast<uint64_t>(state.streams.taken())},
          {"max active streams", static_cast<uint64_t>(state.streams.peak())},
          {"max streams", static_cast<uint64_t>(state.streams.limit())},
          {"connections", board.sum(&LoopBoard::connections)},
          {"requests", board.sum(&LoopBoard::requests)},
          {"requests done", ended(Outcome::kDone)},
          {"requests error", ended(Outcome::kError)},
          {"requests timeout", ended(Outcome::kTimeout)},
          {"requests client gone", ended(Outcome::kClientGone)},
          {"requests rejected", board.sum(&LoopBoard::rejected)},
          {"input tokens", totals.input_tokens},
          {"output tokens", totals.output_tokens},
          {"upstream errors", totals.upstream_errors},
          {"retries", totals.retries},
          {"reloads", totals.reloads},
          {"failed reloads", totals.failed_reloads}};
}

}  // namespace bailian
