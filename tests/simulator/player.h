#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "connection.h"
#include "gate.h"
#include "http_message.h"
#include "plan.h"
#include "stats.h"

namespace bailian::simulator {

// Answers one completion: executes a plan on a connection, at its pace, and counts.
class Player : public Exchange {
 public:
  Player(event_base* base, Connection& connection, Stats& stats, Gate& gate, const HttpRequest& request,
         Plan plan);
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;
  ~Player() override;

  Next on_drained() override;
  void on_client_gone() override;

 private:
  enum class Phase {
    kWaiting,    // nothing is written, the delay runs
    kHeld,       // at the gate, for the first byte or for more
    kStreaming,  // there may be more events
    kEnding,     // the script has finished, its last bytes may wait
    kSilent,     // until the client closes
  };

  static void on_timer(evutil_socket_t, short, void* self);
  Next on_tick();
  Next begin();
  Next pump(bool is_tick);
  bool produce();
  void take_event();
  void count_usage(std::string_view event);
  bool frame();
  void end_body();
  void hold();
  void set_pace();
  void write_head();
  Next conclude();
  void count(Field field, std::int64_t amount = 1);

  Connection& connection_;
  Stats& stats_;
  Gate& gate_;
  Plan plan_;
  HttpRequest request_;  // no body, no headers: the framing depends on these
  Timer timer_;
  const unsigned epoch_;

  Phase phase_ = Phase::kWaiting;
  std::string body_;  // generated, not framed
  std::size_t framed_bytes_ = 0;
  std::string wire_;  // framed, not written
  std::size_t texts_ = 0;
  std::int64_t input_tokens_ = 0;  // that were billed so far
  std::int64_t output_tokens_ = 0;
  bool has_head_ = false;
  bool overruns_ = false;
  bool is_ended_ = false;
};

}  // namespace bailian::simulator
