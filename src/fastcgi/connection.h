#pragma once

#include <list>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "base/unique_fd.h"
#include "fastcgi/context.h"
#include "fastcgi/intake.h"
#include "fastcgi/output.h"
#include "fastcgi/pacer.h"

namespace bailian {

/// One connection from the web server: receives a request, passes it to the handler, sends the answer and
/// then closes or, if the peer asked for it (FCGI_KEEP_CONN), waits for the next request. It closes at once
/// if the peer hangs up, breaks the protocol or misses a deadline, and if anything here throws. Owned by its
/// listener, which destroys it at the end of the iteration after it was closed. Loop thread only.
class FcgiConnection final : public ClientStream {
 public:
  /// `is_local`: a unix socket, whose unread bytes can be counted. Throws std::bad_alloc, std::system_error.
  FcgiConnection(FcgiContext& context, UniqueFd fd, bool is_local);
  ~FcgiConnection() override;

  void send(const Reply& reply) override;
  void begin(const Reply& head) override;
  void write(std::string_view event) override;
  void finish() override;
  void abort() noexcept override;
  [[nodiscard]] size_t unsent_bytes() const override { return output_.waiting_bytes(); }
  [[nodiscard]] uint64_t sent_bytes() const override { return record_.sent_bytes; }

  /// FcgiContext::stopping was set: the exchange ends its answer. This may change the state.
  void stop() noexcept;
  /// FcgiContext::draining was set: shorter deadlines apply.
  void drain();

  [[nodiscard]] FcgiState state() const { return state_; }
  /// When it entered that state.
  [[nodiscard]] Clock::time_point entered_at() const { return entered_at_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Its position in the owner's list of connections in its state.
  using Handle = std::list<FcgiConnection>::iterator;
  void set_handle(Handle handle) { handle_ = handle; }
  [[nodiscard]] Handle handle() const { return handle_; }

 private:
  void enter(FcgiState next) noexcept;
  [[nodiscard]] bool has_request() const;
  void on_readable();
  bool take(std::span<const unsigned char> bytes);
  void send_replies(std::string_view records);
  void start_exchange();
  void abort_exchange();
  void start_finishing();
  void on_iteration_end();
  bool send_some();
  [[nodiscard]] std::string_view sendable();
  void on_writable();
  void on_peer_read();
  [[nodiscard]] bool peer_has_read_all() const;
  void arm_writable();
  void disarm_writable() noexcept;
  void on_deadline();
  void end_exchange();
  void record_end(std::optional<Outcome> outcome, std::string_view detail) noexcept;
  void describe_exchange(std::string_view detail = {}) noexcept;
  void on_exception(const std::exception& error) noexcept;
  void close(Outcome outcome) noexcept;

  FcgiContext& context_;
  Handle handle_;
  const UniqueFd fd_;
  const bool is_local_;
  FcgiState state_ = FcgiState::kReading;
  Clock::time_point entered_at_ = Clock::now();
  bool is_head_ = false;                // the method: no body is sent
  bool keep_ = false;                   // the connection is kept after the answer
  bool asked_to_close_ = false;         // the peer was asked to close it
  bool flushed_notified_ = true;        // the exchange knows that nothing waits
  std::optional<uint64_t> stalled_at_;  // sent_bytes when writable_ was armed
  Clock::time_point finish_by_;         // while kFinishing
  FcgiIntake intake_;
  IoEvent readable_;
  Timer deadline_;
  std::optional<IoEvent> writable_;  // most streams never need it, nor peer_read_
  // What each token needs is together, from the end of the record on.
  AccessRecord record_;
  std::unique_ptr<Exchange> exchange_;
  FcgiOutput output_{context_.output_buffers};
  Pacer pacer_;
  EndOfIteration iteration_end_;
  std::optional<Timer> peer_read_;
};

}  // namespace bailian
