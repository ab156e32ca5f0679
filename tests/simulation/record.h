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

/// A request that the upstream has received in full, and what it has put on the wire since.
struct Attempt {
  Time received_at;
  std::string text;     // of the answer
  std::string thought;  // likewise
  bool has_stop = false;
  bool is_billed = false;        // has sent a part of the answer or a usage
  bool is_free_failure = false;  // throttled, and nothing was billed: the question may be asked again
  std::chrono::seconds retry_after{0};
  Usage usage;
};

/// A visitor's question: what has happened to it, as the visitor, the upstream and the log have seen it.
struct Question {
  int number = 0;
  AnswerMode mode = AnswerMode::kStream;
  bool wants_thoughts = false;
  bool is_chat = false;
  bool is_kept = false;         // its connection: a request to close it may follow
  bool is_slow = false;         // the visitor does not read at once
  Question* repeats = nullptr;  // the one whose stream has failed
  Question* repeated_by = nullptr;

  // The program.
  std::optional<Time> asked_at;    // has received all of the request
  std::optional<Time> left_at;     // has received the visitor's goodbye
  Duration lateness_then{};        // of the world
  std::optional<Config> settings;  // then in use
  std::optional<Time> stopped_at;  // was told to stop at once
  int transfers = 0;               // that libcurl has at the moment
  int transfers_begun = 0;         // those that repeat an unsent request not counted
  bool may_start_afresh = false;   // a kept connection has ended before all of the request was sent
  size_t attempts_before = 0;      // when the latest began
  Duration lateness_at_end{};
  int requests = 0;  // that libcurl was about to send
  int pauses = 0;
  std::optional<Time> ended_at;   // the latest transfer
  std::optional<Time> last_read;  // when libcurl has last handed over bytes, or has gone on after a pause
  bool is_paused = false;
  bool was_paused_at_end = false;  // of the latest transfer
  bool is_remembered = false;      // its failure

  size_t chat_phase = 0;  // as last seen
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
  std::string error_code;       // that the visitor was told
  bool has_end = false;         // FCGI_END_REQUEST has arrived
  bool is_cut = false;          // the connection ended without it
  uint64_t received_bytes = 0;  // of FastCGI

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
  /// The one that `text` names by its mark.
  Question& named_in(std::string_view text);
  /// Part of the prompt of a question.
  static std::string mark(int number) { return fmt::format("#{}#", number); }

 private:
  std::deque<Question> questions_;
};
extern Record* record;

}  // namespace bailian::simulation
