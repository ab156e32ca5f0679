#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/access_record.h"
#include "base/event_loop.h"
#include "ledger/report.h"
#include "settings/config.h"

namespace bailian {

/// Why no answer may be asked for, or why one has to end.
struct Refusal {
  enum class Cause {
    kUsedUp,         // a cap of the bot or of all bots
    kVisitorUsedUp,  // the visitor's own cap
    kPaused,         // by the owner
    kUnknown,        // the ledger cannot be read, and CAPS_ON_FAULT=closed
    kUnderWay        // another process is answering the question with this Idempotency-Key
  };
  Cause cause;
  std::chrono::seconds retry_after{0};  // until the period ends; 0: no time is known
  std::string message{};                // of the owner, with kPaused; may be empty
};

/// What is about to be asked.
struct Spending {
  std::string_view bot;
  std::string_view
      visitor;  // the browser's address, according to the web server; empty: no visitor's cap applies
  size_t question_bytes;                 // of prompt, history and parameters, as they are sent
  std::string_view idempotency_id = {};  // see IdempotencyKeys::id(); empty: no key
};

/// Receives the end of a take() that was pending, on the loop's thread; never during the call of take().
class LeaseHandler {
 public:
  virtual ~LeaseHandler() = default;
  virtual void on_leased() = 0;
  virtual void on_lease_refused(const Refusal& refusal) = 0;
};

/// The right of one answer to spend tokens: expected input and a slice of output, extended as they are used.
/// Its destruction counts what was used and gives the rest back. Loop thread only. No call allocates, locks
/// or makes a system call.
class Lease {
 public:
  virtual ~Lease() = default;
  /// The handler has not been called yet: nothing may be asked.
  [[nodiscard]] virtual bool is_pending() const noexcept = 0;

  /// What the attempt under way has used so far, as its frames say (cumulative). False: more than the lease,
  /// and nothing can be added, or the bot was paused at once; refusal() says which. Then the answer has to
  /// end, unless it was complete with this frame.
  [[nodiscard]] virtual bool settle(const Usage& usage) noexcept = 0;
  /// Likewise, for frames without usage: the bytes of text and thoughts so far.
  [[nodiscard]] virtual bool settle_estimate(size_t answer_bytes) noexcept = 0;
  /// Whether the owner has paused the bot at once: the answer has to end, also when it gets no more frames.
  [[nodiscard]] virtual bool is_paused() const noexcept = 0;
  [[nodiscard]] virtual Refusal refusal() const = 0;

  /// The attempt has ended; what it was settled for stays counted. The next one starts from zero.
  virtual void start_next_attempt() noexcept = 0;
  /// The answer is complete: counts an answer, and remembers the input that it took.
  virtual void finish() noexcept = 0;
  /// The visitor has left an unfinished answer: with CAP_ON_ABORT=worst the whole lease counts.
  virtual void abandon() noexcept = 0;
};

/// Of the owner's words to visitors.
inline constexpr size_t kMaxPauseMessageBytes = 480;

/// Who has spent how much, and what may still be spent. One for the process; any thread.
class Ledger {
 public:
  virtual ~Ledger() = default;

  /// Bots, caps, prices, slice and policies of the settings, at the start and after each reload. Open leases
  /// obey the new caps from their next slice on. Throws std::bad_alloc.
  virtual void apply(const Config& config) = 0;

  /// A lease, which may be pending, or the reason why there is none. `loop` and `handler` must outlive it.
  virtual std::variant<std::unique_ptr<Lease>, Refusal> take(EventLoop& loop, const Spending& spending,
                                                             LeaseHandler& handler) = 0;

  /// Why every question to the bot would be refused now, whatever its size.
  [[nodiscard]] virtual std::optional<Refusal> closed(std::string_view bot) const = 0;
  /// Why the ledger cannot be used; empty: it can.
  [[nodiscard]] virtual std::string fault() const = 0;

  /// Answers from the cache, and questions that were refused by a cap. They take no lease.
  virtual void count_cached(std::string_view bot) noexcept = 0;
  virtual void count_refused(std::string_view bot, Refusal::Cause cause) noexcept = 0;

  /// Throws std::bad_alloc.
  [[nodiscard]] virtual LedgerReport report(int days) const = 0;

  /// Pauses the bot; with an empty name all. `message` is for visitors: UTF-8, at most kMaxPauseMessageBytes.
  /// `at_once`: open answers end too. These throw std::system_error when it cannot be kept.
  virtual void pause(std::string_view bot, std::string_view message, bool at_once) = 0;
  virtual void resume(std::string_view bot) = 0;

  /// Notes that the owner is alerted at `percent` (80 or 100) of the cap of a bot, or with an empty name of
  /// all, for the running `period` (day or month). False: he has been already, by whichever process.
  virtual bool note_alert(std::string_view bot, std::string_view period, int percent) = 0;

  /// The owner says that the wall clock is right: its period begins, though a jump has not held long enough.
  virtual void open_period() = 0;
};

/// Who opens a ledger: a service, whose loops must not wait for a server, or a command, which wants what the
/// server knows now, and all of it.
enum class LedgerUse { kService, kCommand };

/// The ledger of the setting LEDGER; nullptr: it is empty. A ledger that cannot be used has a fault() and
/// tries again. Throws ConfigError for what is not a ledger, or a newer one.
std::unique_ptr<Ledger> open_ledger(const Config& config, LedgerUse use = LedgerUse::kService);

}  // namespace bailian
