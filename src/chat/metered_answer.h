#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/event_loop.h"
#include "base/exchange.h"
#include "chat/config_snapshot.h"
#include "chat/pause_watch.h"
#include "dashscope/answer_source.h"
#include "dashscope/completion.h"
#include "ledger/ledger.h"

namespace bailian {

/// An answer that is paid for by a lease: takes one, then asks the bot's targets for a stream, and settles
/// what its frames say was used. When the lease is refused, or used up and cannot be extended, or the owner
/// pauses the bot at once, it ends with on_refused(). A visitor who leaves while the lease is pending has
/// cost nothing.
class alignas(64) MeteredAnswer final : public AnswerSource, private AnswerHandler, private LeaseHandler {
 public:
  /// `pauses`, of the loop, `ledger`, `bot` and `handler` must outlive it; `question` and the texts may go
  /// when the constructor returns. `idempotency_id` may be empty. Throws HttpError if the ledger refuses at
  /// once.
  MeteredAnswer(EventLoop& loop, PauseWatch& pauses, Ledger& ledger, Bot& bot, const Question& question,
                std::string_view visitor, std::string_view idempotency_id, AnswerHandler& handler);
  ~MeteredAnswer() override;

  bool pause() override { return completion_ && completion_->pause(); }
  void resume() override;
  void cancel() noexcept override;
  [[nodiscard]] const Target* target() const override;
  [[nodiscard]] bool has_lost_session() const override;
  [[nodiscard]] const Answer& answer() const override;

 private:
  void on_leased() override;
  void on_lease_refused(const Refusal& refusal) override;
  void on_timeout();

  void on_text(std::string_view text) override;
  void on_thought(std::string_view thought) override;
  void on_request(const Target& target) noexcept override;
  void on_bytes(Clock::time_point now) override;
  void on_billed() override;
  void on_finished(const Answer& answer) override;
  void on_retry(const UpstreamError& error) override;
  void on_failover(const UpstreamError& error, const Target& from) override;
  void on_failed(const UpstreamError& error) override;
  void on_exception(const std::exception& error) noexcept override;

  void ask(const Question& question);
  HttpError refuse(const Refusal& refusal);
  [[nodiscard]] bool settle() noexcept;
  void start_next_attempt() noexcept;
  void end_if_paused() noexcept;
  void cut();
  void release() noexcept;

  AnswerHandler& handler_;
  std::unique_ptr<Lease> lease_;  // none once the answer has ended
  std::unique_ptr<Completion> completion_;
  size_t answer_bytes_ = 0;  // of text and thoughts, in this attempt
  bool is_billed_ = false;   // something of this attempt
  bool is_asked_ = false;    // a request was sent
  bool has_ended_ = false;   // the handler knows the outcome, or wants to know nothing more
  Ledger& ledger_;
  Bot& bot_;
  const Clock::time_point started_;
  const PauseWatch::Entry watched_;
  // While the lease is pending.
  std::unique_ptr<const Question> question_;
  std::optional<Timer> timeout_;
};

}  // namespace bailian
