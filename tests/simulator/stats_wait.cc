#include "stats_wait.h"

namespace bailian::simulator {

StatsWait::StatsWait(event_base* base, Connection& connection, const HttpRequest& request, Stats& stats,
                     StatsGoal goal)
    : connection_(connection), stats_(stats), goal_(goal), timer_(base, on_timeout, this) {
  request_.has_chunks = request.has_chunks;
  request_.closes = request.closes;
  if (goal_.is_met(stats_)) {
    answer(200);
  } else {
    stats_.watch(*this);
    timer_.start(goal_.timeout);
  }
}

void StatsWait::on_timeout(evutil_socket_t, short, void* self) { static_cast<StatsWait*>(self)->answer(408); }

void StatsWait::on_stats_changed() {
  if (goal_.is_met(stats_)) answer(200);
}

void StatsWait::answer(int status) {
  if (is_answered_) return;
  is_answered_ = true;
  timer_.stop();
  stats_.unwatch(*this);
  connection_.write(http_reply(status, "application/json", stats_.json(), request_));
}

}  // namespace bailian::simulator
