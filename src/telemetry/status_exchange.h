#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "telemetry/status_page.h"

namespace bailian {

/// The status page in the making. Its rows are written a few in each iteration of the loop, so that no number
/// of chats holds up any of them.
class StatusExchange final : public Exchange {
 public:
  /// `figures` are the upper part of the page.
  StatusExchange(EventLoop& loop, const StatusBoard& board, const std::vector<StatusFigure>& figures,
                 ClientStream& client, const StatusQuery& query, Headers headers);

  void on_flushed() override {}
  void on_shutdown() override;
  void describe(AccessRecord& record) const override { record.endpoint = Endpoint::kStatus; }

 private:
  void go_on();
  void on_exception(const std::exception& error) noexcept;

  const StatusBoard& board_;
  ClientStream& client_;
  Reply reply_;
  StatusWriter writer_;
  std::vector<ChatView> chats_;
  size_t loop_index_ = 0;
  size_t place_ = 0;
  Timer next_rows_;
};

}  // namespace bailian
