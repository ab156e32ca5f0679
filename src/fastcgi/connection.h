#pragma once

#include <list>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "base/unique_fd.h"
#include "fastcgi/output.h"
#include "fastcgi/request_parser.h"

namespace bailian {

class FcgiListener;

/// One connection from the web server: takes a request in, hands it on, sends the answer out, and either
/// closes or, when the peer asked for it (FCGI_KEEP_CONN), waits for the next. The peer's hanging up or
/// breaking the protocol ends the exchange at once. Owned by its listener; loop thread only.
class FcgiConnection final : public ClientStream {
 public:
  /// `local`: a unix socket, whose unread bytes can be counted.
  FcgiConnection(FcgiListener& listener, UniqueFd fd, bool local);
  ~FcgiConnection() override;

  void send(const Reply& reply) override;
  void begin(const Reply& head) override;
  void write(std::string_view event) override;
  void finish() override;
  void abort() noexcept override { close(Outcome::kError); }
  [[nodiscard]] size_t unsent_bytes() const override { return output_.waiting_bytes(); }
  [[nodiscard]] uint64_t sent_bytes() const override { return record_.sent_bytes; }

  /// The program ends now: the exchange tells the browser so.
  void cut();
  /// The program is about to end: waits but a moment for a request, and the answer to it is the last.
  void drain();
  /// Closes a connection that has no answer under way: its descriptor is needed.
  void make_room() noexcept { close(Outcome::kError); }

  /// How far it is; in this order the listener closes connections when it needs room.
  enum class Stage {
    kParked,   // between two requests
    kRequest,  // a request is to come or coming in
    kAnswer,
    kGone  // to be destroyed
  };
  /// Where its listener keeps it.
  using Place = std::list<FcgiConnection>::iterator;
  void set_place(Stage stage, Place place) {
    stage_ = stage;
    place_ = place;
  }
  [[nodiscard]] Stage stage() const { return stage_; }
  [[nodiscard]] Place place() const { return place_; }

 private:
  enum class State {
    kReading,    // a request is coming in
    kAnswering,  // an exchange is under way
    kEnding,     // the answer is complete, but not all of it has left
    kParked,     // kept open between two requests
    kGone        // to be closed at the end of the iteration
  };

  template <typename Call>
  void guarded(Call call) noexcept;
  void on_exception(const std::exception& error) noexcept;
  void receive();
  void send_replies(std::string_view records);
  void abort_exchange();
  void on_writable();
  void on_peer_done();
  bool take(std::span<const unsigned char> bytes);
  std::optional<Request> read_request();
  void start_exchange();
  void write_head(const Reply& reply);
  void flush();
  bool send_some();
  void end_exchange();
  void describe_exchange() noexcept;
  void record_end() noexcept;
  void park();
  void start_deadline(std::chrono::steady_clock::duration after);
  void on_deadline();
  void close(Outcome outcome) noexcept;
  void wait_for_room(bool waiting);
  [[nodiscard]] bool paced() const;
  [[nodiscard]] bool peer_has_read_all() const;

  FcgiListener& listener_;
  Stage stage_ = Stage::kRequest;
  Place place_;
  UniqueFd fd_;
  const bool local_;
  State state_ = State::kReading;
  bool head_only_ = false;  // HEAD
  bool events_ = false;     // the answer is an event stream
  bool keep_ = false;
  bool said_goodbye_ = false;           // the peer was told not to keep the connection
  bool is_last_ = false;                // and uses it all the same: this answer is the last
  bool flushed_notified_ = true;        // the exchange knows that nothing waits
  std::optional<uint64_t> stalled_at_;  // sent_bytes when the peer last had to be waited for
  Clock::time_point last_sent_;
  Clock::time_point ends_by_;  // while it is kEnding
  size_t unread_bytes_ = 0;    // sent since the peer was last known to have read all
  FcgiRequestParser records_;
  FcgiOutput output_;
  AccessRecord record_;
  std::unique_ptr<Exchange> exchange_;
  IoEvent readable_;
  // Most streams need none of these while they flow.
  std::optional<Timer> deadline_;
  std::optional<IoEvent> writable_;
  std::optional<Timer> peer_done_;
  EndOfIteration flush_;
};

}  // namespace bailian
