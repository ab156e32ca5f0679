#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "event_loop.h"
#include "http.h"
#include "status_page.h"

namespace bailian {

struct Shared;

/// The status page in the making. Its rows are written a few in each iteration of the loop, so that no number
/// of chats holds up any of them.
class StatusExchange final : public Exchange {
 public:
  StatusExchange(EventLoop& loop, const Shared& shared, ClientStream& client, const StatusQuery& query,
                 Headers headers);

  void on_drained() override {}
  void on_shutdown() override;

 private:
  void go_on();

  const StatusBoard& board_;
  ClientStream& client_;
  Reply reply_;
  StatusWriter writer_;
  std::vector<ChatView> chats_;
  size_t loop_index_ = 0;
  size_t place_ = 0;
  Timer next_rows_;
};

/// The upper part of the page, as it is now.
std::vector<StatusFigure> status_figures(const Shared& shared);

}  // namespace bailian
