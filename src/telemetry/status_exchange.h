#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "telemetry/status_page.h"

namespace bailian {

/// Writes the status page. It adds a few rows in each iteration of the loop, so that no number of chats
/// delays the loop.
class StatusExchange final : public Exchange {
 public:
  StatusExchange(EventLoop& loop, const StatusBoard& board, const StatusOverview& overview,
                 ClientStream& client, const StatusQuery& query, Headers headers);

  void on_flushed() override {}
  void on_shutdown() override;
  void describe(AccessRecord& record) const override { record.endpoint = Endpoint::kStatus; }

 private:
  void add_rows();
  void on_exception(const std::exception& error) noexcept;

  const StatusBoard& board_;
  ClientStream& client_;
  Reply reply_;
  StatusWriter writer_;
  std::vector<ChatView> chats_;
  size_t loop_index_ = 0;
  size_t slot_ = 0;
  Timer next_rows_;
};

}  // namespace bailian
