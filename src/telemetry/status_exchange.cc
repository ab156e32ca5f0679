#include "telemetry/status_exchange.h"

#include <exception>
#include <utility>

#include "base/log.h"

namespace bailian {

StatusExchange::StatusExchange(EventLoop& loop, const StatusBoard& board, const StatusOverview& overview,
                               ClientStream& client, const StatusQuery& query, Headers headers)
    : board_(board),
      client_(client),
      reply_{200, std::move(headers), {}},
      writer_(query),
      next_rows_(loop, bind<&StatusExchange::add_rows>(this), bind<&StatusExchange::on_exception>(this)) {
  reply_.headers.emplace_back("Content-Type", query.json ? "application/json" : "text/plain; charset=utf-8");
  writer_.start(overview);
  if (!query.full) loop_index_ = board_.loops().size();
  next_rows_.start(Clock::duration::zero());
}

void StatusExchange::on_shutdown() {
  next_rows_.cancel();
  client_.send({503, {{"Content-Type", "text/plain"}, {"Cache-Control", "no-store"}}, "Server busy"});
}

void StatusExchange::on_exception(const std::exception& error) noexcept {
  log(LogLevel::kError, "status_failed", error.what());
  client_.abort();
}

void StatusExchange::add_rows() {
  if (loop_index_ == board_.loops().size()) {
    reply_.body = writer_.finish();
    return client_.send(reply_);
  }
  constexpr size_t kRowsPerIteration = 32;  // they take about 50 microseconds
  chats_.clear();
  const auto next = board_.loops()[loop_index_]->read(slot_, kRowsPerIteration, Clock::now(), chats_);
  for (ChatView& chat : chats_) {
    chat.worker = loop_index_;
    writer_.add(chat);
  }
  slot_ = next.value_or(0);
  if (!next) ++loop_index_;
  next_rows_.start(Clock::duration::zero());
}

}  // namespace bailian
