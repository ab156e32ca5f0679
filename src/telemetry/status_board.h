#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/access_record.h"
#include "base/log_line.h"
#include "telemetry/metrics.h"

namespace bailian {

/// The progress of a chat.
enum class ChatPhase : uint8_t {
  kWaiting,     // nothing was sent: a failure is an HTTP error
  kOpen,        // the head of a stream was sent, and perhaps heartbeats; from here a failure is an event
  kStreaming,   // pieces arrive and are sent
  kPaused,      // likewise, but the upstream waits for a slower browser
  kCollecting,  // pieces of a whole answer arrive; nothing was sent
  kFinished     // the answer is complete or has failed; the rest of it is on the way to the browser
};

/// A snapshot of one live chat, for the status page.
struct ChatView {
  std::string request_id;
  std::string bot;  // its name
  AnswerMode mode = AnswerMode::kStream;
  ChatPhase phase = ChatPhase::kWaiting;
  size_t worker = 0;
  Clock::duration age{};
  uint64_t tokens = 0;  // output tokens; events with text if the upstream does not count tokens
  uint64_t sent_bytes = 0;
  uint64_t waiting_bytes = 0;
  std::optional<Clock::duration> first_token;
  std::optional<Clock::duration> silence;  // since the upstream's last bytes
};

class LoopBoard;

/// A chat's entry on the board, for as long as it lives. Its loop writes, any thread may read.
class LiveChat {
 public:
  /// The bot's name must outlive the entry.
  LiveChat(LoopBoard& board, std::string request_id, std::string_view bot, AnswerMode mode,
           Clock::time_point started);
  ~LiveChat();
  LiveChat(const LiveChat&) = delete;
  LiveChat& operator=(const LiveChat&) = delete;

  // Called by the chat's loop.
  void set_phase(ChatPhase phase) { phase_.store(phase, std::memory_order_relaxed); }
  void set_tokens(uint64_t tokens) { tokens_.store(tokens, std::memory_order_relaxed); }
  void set_bytes(uint64_t sent, uint64_t waiting) {
    sent_bytes_.store(sent, std::memory_order_relaxed);
    waiting_bytes_.store(waiting, std::memory_order_relaxed);
  }
  void set_first_token(Clock::time_point when) { first_token_.store(when, std::memory_order_relaxed); }
  void set_last_bytes(Clock::time_point when) { last_bytes_.store(when, std::memory_order_relaxed); }

  // Any thread.
  [[nodiscard]] ChatView view(Clock::time_point now) const;

 private:
  friend class LoopBoard;

  // What changes with each token comes first.
  std::atomic<Clock::time_point> last_bytes_{Clock::time_point::min()};  // min: none yet
  std::atomic<uint64_t> tokens_{0};
  std::atomic<uint64_t> sent_bytes_{0};
  std::atomic<uint64_t> waiting_bytes_{0};
  std::atomic<ChatPhase> phase_{ChatPhase::kWaiting};
  std::atomic<Clock::time_point> first_token_{Clock::time_point::min()};  // likewise
  LoopBoard& board_;
  size_t slot_ = 0;
  const std::string request_id_;
  const std::string_view bot_;
  const AnswerMode mode_;
  const Clock::time_point started_;
};

/// The counters and the live chats of one loop.
class LoopBoard {
 public:
  Tally connections;
  Tally requests;
  Tally rejected;  // over MAX_STREAMS

  /// Appends the chats in at most `max_slots` slots, from `slot` on, to `views`. Returns the slot to continue
  /// from, or nothing at the end. A chat that lives through all the calls is visited once, even if others
  /// begin or end in between.
  [[nodiscard]] std::optional<size_t> read(size_t slot, size_t max_slots, Clock::time_point now,
                                           std::vector<ChatView>& views) const;

 private:
  friend class LiveChat;
  void add(LiveChat& chat);
  void remove(const LiveChat& chat);

  mutable std::mutex mutex_;      // taken when a chat begins, when it ends, and by readers
  std::vector<LiveChat*> slots_;  // null: free
  std::vector<size_t> free_;
};

/// The contents of the status page: the boards of the loops, and the facts that do not belong to a loop.
class StatusBoard {
 public:
  /// Call it before any thread is started.
  LoopBoard& add_loop() { return *loops_.emplace_back(std::make_unique<LoopBoard>()); }
  [[nodiscard]] const std::vector<std::unique_ptr<LoopBoard>>& loops() const { return loops_; }

  [[nodiscard]] uint64_t sum(Tally LoopBoard::*tally) const {
    uint64_t sum = 0;
    for (const auto& loop : loops_) sum += (loop.get()->*tally).sum();
    return sum;
  }

  const Clock::time_point started = Clock::now();
  const std::string start_time = now_rfc3339();
  std::string address;  // set before any thread is started

 private:
  std::vector<std::unique_ptr<LoopBoard>> loops_;
};

}  // namespace bailian
