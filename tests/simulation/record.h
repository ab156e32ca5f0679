#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/access_record.h"
#include "settings/config.h"
#include "simulation/world.h"

namespace bailian::simulation {

inline constexpr std::string_view kApiKey = "sk-5e1f0a3b7c9d2468";
// Besides the bot `default`, whose application is `app`.
inline constexpr std::string_view kOtherBot = "shop";
inline constexpr std::string_view kOtherApp = "app-of-the-shop";

/// A request that the upstream has received in full, and what it has sent in return.
struct Attempt {
  Time received_at;
  std::string text;     // of the answer
  std::string thought;  // likewise
  bool has_stop = false;
  bool is_billed = false;        // has sent a part of the answer or a usage
  bool is_free_failure = false;  // throttled, and nothing was billed: the question may be asked again
  bool is_of_target = false;     // has failed in a way that another target may not
  bool is_final = false;         // has failed in a way that no other target may be asked
  std::chrono::seconds retry_after{0};
  Usage usage;
};

/// A visitor's request, and what the product, the upstream, the visitor and the log have seen of it.
struct Question {
  int number = -1;
  AnswerMode mode = AnswerMode::kStream;
  bool wants_thoughts = false;
  bool is_chat = false;
  bool is_for_other_bot = false;
  bool is_kept = false;         // FCGI_KEEP_CONN: a record that makes nginx close may follow
  bool is_slow = false;         // the visitor does not read at once
  Question* repeats = nullptr;  // the question whose stream has failed
  Question* repeated_by = nullptr;

  // The product.
  std::optional<Time> asked_at;    // has received all of the request
  std::optional<Time> left_at;     // has received FCGI_ABORT_REQUEST or the end of the connection
  Duration lateness_then{};        // of the world, at asked_at
  std::optional<Config> settings;  // in use at asked_at
  std::optional<Time> stopped_at;  // was told to stop at once
  int transfers = 0;               // in libcurl now
  int transfers_begun = 0;         // without those that repeat an unsent request
  bool may_start_afresh = false;   // a kept connection has ended before all of the request was sent
  std::vector<std::string> urls;   // that were asked, of a target each; the latest last
  bool has_read_end = false;       // of the latest attempt: something that forbids to ask another target
  size_t attempts_before = 0;      // attempts when the latest transfer began
  Duration lateness_at_end{};
  int requests = 0;               // that libcurl was about to send
  std::optional<Time> ended_at;   // end of the latest transfer
  std::optional<Time> last_read;  // libcurl last received something, or resumed
  bool is_paused = false;
  bool was_paused_at_end = false;  // at ended_at
  bool is_remembered = false;      // the product must remember the failure

  /// Transfers at a target that was asked before.
  [[nodiscard]] int retries() const;
  /// Whether the upstream is asked for a stream: with a ledger, always.
  [[nodiscard]] bool is_upstream_stream() const;

  size_t chat_phase = 0;  // as last observed
  size_t completion_state = 0;

  // The upstream.
  std::deque<Attempt> attempts;
  std::optional<Time> stop_sent_at;

  // The visitor.
  bool has_left = false;
  int status = 0;
  std::string text;
  std::string thought;
  bool is_told_complete = false;
  std::string error_code;       // that the visitor has received
  bool has_end = false;         // FCGI_END_REQUEST has arrived
  bool is_cut = false;          // the connection ended without it
  uint64_t received_bytes = 0;  // including FastCGI framing

  // The log.
  struct Line {
    Time at{};
    std::string outcome;
    std::string upstream_code;
    int status = 0;
    std::optional<Usage> usage;
    uint64_t bytes = 0;
  };
  std::vector<Line> lines;
};

/// The HEAD requests that make a connection ready.
struct WarmUps {
  bool may_begin = false;
  int under_way = 0;
  std::optional<Time> last_begin;  // with the settings in use
};

/// The questions of the schedule.
class Record {
 public:
  Question& add() {
    const auto number = static_cast<int>(questions_.size());
    Question& question = questions_.emplace_back();
    question.number = number;
    return question;
  }
  [[nodiscard]] std::deque<Question>& questions() { return questions_; }
  [[nodiscard]] WarmUps& warm_up() { return warm_up_; }
  bool has_ledger = false;
  /// The question whose mark is in `text`, or the last one that repeats it.
  Question& named_in(std::string_view text);
  /// The part of a prompt that identifies the question.
  static std::string mark(int number) { return fmt::format("#{}#", number); }

 private:
  std::deque<Question> questions_;
  WarmUps warm_up_;
};
extern Record* record;

}  // namespace bailian::simulation
