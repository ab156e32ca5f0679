#include "status.h"

#include <unistd.h>

#include <exception>
#include <utility>

#include "chat.h"
#include "log.h"
#include "router.h"

namespace bailian {
namespace {

// Some 50 microseconds.
constexpr size_t kRowsPerIteration = 32;

}  // namespace

StatusExchange::StatusExchange(EventLoop& loop, const Shared& shared, ClientStream& client,
                               const StatusQuery& query, Headers headers)
    : board_(shared.board),
      client_(client),
      reply_{200, std::move(headers), {}},
      writer_(query),
      next_rows_(loop, [this] {
        try {
          go_on();
        } catch (const std::exception& error) {
          log(LogLevel::kError, "status_failed", error.what());
          client_.abandon();
        }
      }) {
  reply_.headers.emplace_back("Content-Type", content_type(query.format));
  reply_.headers.emplace_back("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  writer_.start(status_figures(shared));
  if (!query.full) loop_index_ = board_.loops().size();
  next_rows_.start(Clock::duration::zero());
}

void StatusExchange::on_shutdown() {
  next_rows_.cancel();
  client_.send(error_reply({503, "overloaded", "Server busy"}, client_.record().request_id, {}));
}

void StatusExchange::go_on() {
  if (loop_index_ == board_.loops().size()) {
    reply_.body = writer_.finish();
    return client_.send(reply_);
  }
  chats_.clear();
  const auto next = board_.loops()[loop_index_]->read(place_, kRowsPerIteration, Clock::now(), chats_);
  for (ChatView& chat : chats_) {
    chat.worker = loop_index_;
    writer_.add(chat);
  }
  place_ = next.value_or(0);
  if (!next) ++loop_index_;
  next_rows_.start(Clock::duration::zero());
}

std::vector<StatusFigure> status_figures(const Shared& shared) {
  const StatusBoard& board = shared.board;
  const Totals totals = shared.metrics.totals();
  const auto ended = [&totals](Outcome outcome) { return totals.requests.at(static_cast<size_t>(outcome)); };
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - board.started);
  return {{"program", "bailian-fcgi"},
          {"version", BAILIAN_VERSION},
          {"pid", static_cast<uint64_t>(::getpid())},
          {"start time", board.start_time},
          {"uptime", static_cast<uint64_t>(uptime.count())},
          {"state", shared.draining        ? "draining"
                    : shared.misconfigured ? "misconfigured"
                                           : "accepting"},
          {"listening", board.address},
          {"workers", static_cast<uint64_t>(board.loops().size())},
          {"active streams", static_cast<uint64_t>(shared.streams.taken())},
          {"max active streams", static_cast<uint64_t>(shared.streams.peak())},
          {"max streams", static_cast<uint64_t>(shared.streams.most())},
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
