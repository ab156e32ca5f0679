#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "chat.h"
#include "config.h"
#include "dashscope_client.h"
#include "event_loop.h"
#include "failed_streams.h"
#include "http.h"
#include "metrics.h"
#include "status_board.h"

namespace bailian {

/// What all loops share.
struct Shared {
  explicit Shared(const Config& config) : streams(config.max_streams) {}
  StreamLimit streams;
  FailedStreams failed_streams;
  Metrics metrics;
  std::atomic<bool> draining{false};
  /// Draining with nobody to take over: new chats are refused.
  std::atomic<bool> refusing{false};
  /// The settings have faults: chats are refused until they are mended.
  bool misconfigured = false;
  StatusBoard board;
};

/// Finds what a request asks for and answers it, or starts the chat that will. One per loop.
class Router {
 public:
  Router(EventLoop& loop, const Config& config, Shared& shared)
      : loop_(loop),
        shared_(shared),
        watch_(loop, shared.board.add_loop()),
        received_(shared.metrics.add_tally(Traffic::kFromUpstream)),
        setup_(std::make_shared<Setup>(loop, config, shared.metrics, received_)) {}

  /// Requests from now on are answered by `config`; chats under way keep what they began with.
  void reload(const Config& config) {
    setup_ = std::make_shared<Setup>(loop_, config, shared_.metrics, received_);
  }

  /// Whether a request's body is read; that of an unknown path, say, is not.
  static bool takes_body(std::string_view method, std::string_view path);

  /// The exchange that goes on, or none when the reply was sent at once.
  std::unique_ptr<Exchange> handle(const Request& request, ClientStream& client);

  [[nodiscard]] LoopBoard& board() const { return watch_.board; }

 private:
  std::unique_ptr<Exchange> answer(const Request& request, ClientStream& client, const Headers& common);
  Reply bot_profile(const Request& request) const;
  Reply metrics();
  std::unique_ptr<Exchange> chat(const Request& request, ClientStream& client, AnswerMode mode,
                                 const Headers& common);
  [[nodiscard]] bool is_allowed_origin(const Request& request) const;
  [[nodiscard]] Headers common_headers(const Request& request) const;

  [[nodiscard]] const Config& config() const { return setup_->config; }

  EventLoop& loop_;
  Shared& shared_;
  Watch watch_;
  Tally& received_;
  std::shared_ptr<Setup> setup_;
};

}  // namespace bailian
