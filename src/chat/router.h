#pragma once

#include <memory>
#include <string_view>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/chat.h"
#include "chat/service_state.h"
#include "dashscope/client.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Finds what a request asks for and answers it, or starts the chat that will. One per loop.
class Router {
 public:
  Router(EventLoop& loop, const Config& config, ServiceState& shared)
      : loop_(loop),
        shared_(shared),
        board_(shared.board.add_loop()),
        received_(shared.metrics.add_tally(Traffic::kFromUpstream)),
        setup_(std::make_shared<ConfigSnapshot>(loop, config, shared.metrics, received_)) {}

  /// Requests from now on are answered by `config`; chats under way keep what they began with.
  void reload(const Config& config) {
    setup_ = std::make_shared<ConfigSnapshot>(loop_, config, shared_.metrics, received_);
  }

  /// Whether a request's body is read; that of an unknown path, say, is not.
  static bool takes_body(std::string_view method, std::string_view path);

  /// The exchange that goes on, or none when the reply was sent at once.
  std::unique_ptr<Exchange> handle(const Request& request, ClientStream& client);

  [[nodiscard]] LoopBoard& board() const { return board_; }

 private:
  std::unique_ptr<Exchange> answer(const Request& request, const struct Route* route, ClientStream& client,
                                   const Headers& common);
  Reply bot_profile(const Request& request) const;
  Reply metrics();
  std::unique_ptr<Exchange> chat(const Request& request, ClientStream& client, AnswerMode mode,
                                 const Headers& common);
  [[nodiscard]] bool is_allowed_origin(const Request& request) const;
  [[nodiscard]] Headers common_headers(const Request& request) const;

  [[nodiscard]] const Config& config() const { return setup_->config; }

  EventLoop& loop_;
  ServiceState& shared_;
  LoopBoard& board_;
  Tally& received_;
  std::shared_ptr<ConfigSnapshot> setup_;
};

}  // namespace bailian
