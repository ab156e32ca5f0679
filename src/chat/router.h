#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <variant>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/chat.h"
#include "chat/flight.h"
#include "chat/pause_watch.h"
#include "chat/service_state.h"
#include "settings/config.h"
#include "telemetry/metrics.h"
#include "telemetry/status_board.h"

namespace bailian {

/// Finds the route of a request and answers it, or starts the exchange that will. One per loop.
class Router {
 public:
  Router(EventLoop& loop, const Config& config, ServiceState& state)
      : loop_(loop),
        state_(state),
        board_(state.board.add_loop()),
        received_bytes_(state.metrics.add_tally(Traffic::kFromUpstream)),
        snapshot_(std::make_shared<ConfigSnapshot>(loop, config, state, received_bytes_)) {
    snapshot_->set_limits();
  }

  /// Later requests are answered with `config`; chats in progress keep the settings they began with.
  void reload(const Config& config) {
    auto snapshot = std::make_shared<ConfigSnapshot>(loop_, config, state_, received_bytes_);  // may throw
    stop_warm_ups();
    snapshot_ = std::move(snapshot);
    snapshot_->set_limits();
  }

  /// Opens no more connections for questions to come.
  void stop_warm_ups() noexcept {
    for (Bot& bot : snapshot_->bots) bot.upstream.stop_expecting();
  }

  /// Whether a request's body is read. The body of an unknown path or bot, for instance, is not.
  [[nodiscard]] bool takes_body(std::string_view method, std::string_view path) const;

  /// Returns the exchange that will send the reply, or nothing when it was sent at once.
  std::unique_ptr<Exchange> handle(const Request& request, ClientStream& client);

  [[nodiscard]] LoopBoard& board() const { return board_; }

 private:
  struct Route;
  /// A request that a route has to answer.
  struct Visit {
    const Request& request;
    ClientStream& client;
    const Route& route;
    Bot& bot;
    const Headers& headers;  // of every reply to it
  };
  /// The reply, or the exchange that will send it.
  using Result = std::variant<Reply, std::unique_ptr<Exchange>>;

  /// What a path asks for.
  struct Destination {
    const Route* route;                   // nullptr: no endpoint has this path
    std::optional<std::string_view> bot;  // the name in the path
  };
  static Destination find(std::string_view path);
  [[nodiscard]] Bot* find_bot(const std::optional<std::string_view>& name, std::string_view host) const;

  // Without a route or a bot, the reply is an error.
  Result answer(const Request& request, ClientStream& client, const Route* route, Bot* bot);
  Result dispatch(const Request& request, ClientStream& client, const Route* route, Bot* bot,
                  const Headers& common);

  // One function for each route.
  Result health(const Visit& visit);
  Result ready(const Visit& visit);
  Result bot_profile(const Visit& visit);
  Result chat(const Visit& visit);
  Result metrics(const Visit& visit);
  Result ping(const Visit& visit);
  Result status(const Visit& visit);

  void expect_question(const Request& request, Bot& bot) noexcept;
  void check_chat(const Visit& visit) const;
  [[nodiscard]] bool still_holds(const FailedStreams::Failure& failure, const Bot& bot) const;
  Reply repeat_failure(const Visit& visit, const FailedStreams::Failure& failure);
  StreamPermit take_permit(Bot& bot);
  [[nodiscard]] bool is_closed(const Bot& bot) const;
  Admission admit(const Visit& visit, const Question& question, FailedStreams::Key key);
  void check_pause(const Bot& bot) const;
  [[nodiscard]] const Config& config() const { return snapshot_->config; }

  EventLoop& loop_;
  ServiceState& state_;
  LoopBoard& board_;
  Tally& received_bytes_;
  std::shared_ptr<ConfigSnapshot> snapshot_;
  PauseWatch pauses_{loop_};
  Flights flights_{loop_};
};

}  // namespace bailian
