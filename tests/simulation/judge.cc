#include "simulation/judge.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace bailian::simulation {
namespace {

constexpr Duration kShortestStallTimeout = 1900ms;  // just below the shortest in schedule.cc
// Limits for the product without chats, and for a stream without its texts and buffers.
constexpr size_t kMemoryOfProgram = size_t{512} << 10;
constexpr size_t kMemoryOfStream = size_t{64} << 10;
constexpr Duration kTick = 2ms;  // timers are rounded to it

[[noreturn]] void violated_by(const Question& question, std::string_view what) {
  violated(fmt::format("question {}: {}", question.number, what));
}

Duration lateness_since(const Question& question) { return world->lateness() - question.lateness_then; }

// Whether the answer of the latest transfer has an end.
bool has_stop(const Question& question) {
  return question.attempts.size() > question.attempts_before && question.attempts.back().has_stop;
}

// Without memory, the product may drop answers, log lines and counts.
bool lacked_memory() { return has_allocation_failed(); }

// Whether the question repeats one whose failure the product must still remember.
bool is_remembered(const Question& question) {
  if (question.repeats == nullptr || !question.repeats->is_remembered || lacked_memory()) return false;
  return *question.asked_at - question.repeats->ended_at.value_or(Time()) < 29s;
}

}  // namespace

// --- money ---

namespace {

// Another target may be asked at once, and only while nothing of an answer has arrived.
void note_failover(const Question& question) {
  if (question.has_read_end)
    violated_by(question, "another target is asked after a part of an answer, or a failure of all targets");
  const Duration waited = world->now() - question.ended_at.value_or(Time());
  const Duration lost = world->lateness() - question.lateness_at_end;
  if (waited > lost + kTick + 1ms)
    violated_by(question,
                fmt::format("another target is asked too late, after {} s", Seconds(waited).count()));
}

}  // namespace

bool Question::is_upstream_stream() const { return mode == AnswerMode::kStream || record->has_ledger; }

int Question::retries() const { return std::max(0, transfers_begun - static_cast<int>(urls.size())); }

void note_transfer_begins(Question& question, const std::string& url) {
  question.last_read.reset();
  const bool is_again = question.may_start_afresh;
  question.may_start_afresh = false;
  if (question.transfers > 1) violated_by(question, "two transfers at once");
  if (!question.asked_at) violated_by(question, "a transfer begins before the question was received");
  if (is_remembered(question)) violated_by(question, "a transfer begins although the stream has just failed");
  const Config& settings = *question.settings;
  if (is_again) return;
  const bool has_read_end = std::exchange(question.has_read_end, false);
  const bool is_first = question.transfers_begun++ == 0;
  if (std::ranges::find(question.urls, url) == question.urls.end()) {
    question.has_read_end = has_read_end;
    if (!is_first) note_failover(question);
    question.has_read_end = false;
    question.urls.push_back(url);
    question.attempts_before = question.attempts.size();
    return;
  }
  if (url != question.urls.back()) violated_by(question, "returns to an earlier target");
  const int retry = question.retries();
  if (retry > settings.upstream_retries) violated_by(question, "more retries than UPSTREAM_RETRIES");
  std::chrono::seconds asked_wait{0};
  if (question.attempts.size() > question.attempts_before) {
    const Attempt& last = question.attempts.back();
    if (!last.is_free_failure || last.is_billed)
      violated_by(question, "a retry follows an attempt that may have been billed");
    asked_wait = last.retry_after;
  }
  question.attempts_before = question.attempts.size();
  const Duration waited = world->now() - question.ended_at.value_or(Time());
  const Duration lost = world->lateness() - question.lateness_at_end;
  const Seconds back_off = Seconds(0.25) * std::exp2(retry - 1);
  if (waited + lost + kTick < std::max<Duration>(to_duration(0.5 * back_off), asked_wait))
    violated_by(question, fmt::format("the retry starts too early, after {} s", Seconds(waited).count()));
  if (waited > std::max<Duration>(to_duration(1.5 * back_off), asked_wait) + lost + kTick + 1ms)
    violated_by(question, fmt::format("the retry starts too late, after {} s", Seconds(waited).count()));
}

void note_request(const Question& question) {
  const Duration age = world->now() - *question.asked_at;
  if (age >= to_duration(question.settings->timeout) + lateness_since(question))
    violated_by(question, "a request is sent after TIMEOUT");
  if (!question.lines.empty()) violated_by(question, "a request is sent after the answer has ended");
  if (question.left_at) violated_by(question, "a request is sent after the visitor has left");
  if (question.stopped_at) violated_by(question, "a request is sent after the stop");
}

void note_warm_up_begins() {
  constexpr Duration kInterval = 10s;
  WarmUps& warm_up = record->warm_up();
  if (!warm_up.may_begin) violated("a warm-up begins although WARM_UP is off, or while the product drains");
  if (warm_up.under_way++ > 0) violated("two warm-ups at once");
  if (warm_up.last_begin && world->now() - *warm_up.last_begin + kTick < kInterval)
    violated("two warm-ups begin within 10 s");
  // Timers count from the start of the iteration.
  warm_up.last_begin = world->now() - (world->lateness() - world->lateness_before_iteration());
}

// --- at any time ---

void Judge::check_iteration() const {
  if (state_.streams.taken() > state_.streams.limit()) violated("more streams than MAX_STREAMS");
  for (const Question& question : record->questions()) {
    if (question.transfers == 0) continue;
    const Config& settings = *question.settings;
    const Duration lost = lateness_since(question);
    const Duration age = world->now() - *question.asked_at;
    if (has_stop(question) && question.is_upstream_stream()) {
      const Duration linger =
          world->now() - std::max(*question.stop_sent_at, question.last_read.value_or(Time()));
      if (!question.is_paused && linger > 1s + lost + 10ms)
        violated_by(question, "the transfer goes on for over a second after the end of the answer");
      continue;
    }
    if (question.left_at) violated_by(question, "the transfer goes on after the visitor has left");
    if (age > to_duration(settings.timeout) + lost + 10ms)
      violated_by(question, "the transfer outlives TIMEOUT");
    if (question.is_paused || !question.last_read) continue;
    const Duration silence = world->now() - *question.last_read;
    if (silence > std::max(to_duration(settings.idle_timeout), to_duration(settings.first_token_timeout)) +
                      lost + 10ms &&
        question.mode == AnswerMode::kStream)
      violated_by(question, "the silence outlasts IDLE_TIMEOUT and FIRST_TOKEN_TIMEOUT");
  }
}

// --- at the end ---

void Judge::check_answer(const Question& question) {
  if (question.has_left || !question.asked_at) return;
  // If the product itself was this late, it may take a prompt browser for one that has stalled.
  const bool was_late = lateness_since(question) >= kShortestStallTimeout;
  if (question.is_cut) {
    if (!question.is_slow && !lacked_memory() && !question.stopped_at && !was_late)
      violated_by(question, "the answer is cut off");
    if (!question.is_told_complete) return;
  }
  if (!question.has_end && !question.is_told_complete && question.error_code.empty()) {
    if (lacked_memory() || question.stopped_at || question.is_slow) return;
    violated_by(question, "the visitor gets no answer");
  }
  if (!question.is_told_complete && question.error_code.empty() && question.has_end)
    violated_by(question, "the request ends with neither a complete answer nor an error");
  const Attempt* const last = question.attempts.empty() ? nullptr : &question.attempts.back();
  if (question.is_told_complete) {
    if (last == nullptr || !last->has_stop)
      violated_by(question, "an incomplete answer is reported as complete");
    if (question.text != last->text)
      violated_by(question,
                  fmt::format("the visitor gets {}, the upstream sent {}", question.text, last->text));
    if (question.thought != (question.wants_thoughts ? last->thought : ""))
      violated_by(question, fmt::format("the visitor gets wrong thoughts: {}", question.thought));
    return;
  }
  if (!question.text.empty() && (last == nullptr || !last->text.starts_with(question.text)))
    violated_by(question,
                fmt::format("the visitor gets {}, which is not the start of the answer", question.text));
}

void Judge::check_time(const Question& question, const Question::Line& line) {
  const Config& settings = *question.settings;
  const auto check = [&](std::string_view code, std::optional<Time> since, Seconds limit) {
    if (line.upstream_code == code && (!since || line.at - *since < to_duration(limit) - 1ms))
      violated_by(question, fmt::format("fails too early with {}", code));
  };
  if (line.upstream_code == "idle_timeout" && question.was_paused_at_end)
    violated_by(question, "fails with idle_timeout while the transfer is paused");
  check("timeout", question.asked_at, settings.timeout);
  check("first_token_timeout", question.asked_at, settings.first_token_timeout);
  check("idle_timeout", question.last_read, settings.idle_timeout);
  check("connect_timeout", question.asked_at, settings.connect_timeout);
  if (question.mode == AnswerMode::kJson && line.upstream_code == "first_token_timeout")
    violated_by(question, "a whole answer fails with first_token_timeout");
}

// A free failure must be followed by a retry while retries are left. A visitor who takes nothing for too long
// is dropped, and an answer that is paused at once ends, whatever could still be asked.
void Judge::check_persistence(const Question& question, const Question::Line& line) {
  if (question.has_left || question.stopped_at || question.transfers_begun == 0) return;
  if (line.outcome == "client_gone" || line.upstream_code == "paused") return;
  const bool was_received = question.attempts.size() > question.attempts_before;
  const bool was_free =
      was_received ? question.attempts.back().is_free_failure
                   : line.upstream_code == "connect_failed" || line.upstream_code == "connect_timeout";
  const bool is_of_target =
      was_received ? question.attempts.back().is_of_target || line.upstream_code == "first_token_timeout"
                   : line.upstream_code == "connect_failed" || line.upstream_code == "connect_timeout" ||
                         line.upstream_code == "tls_failed";
  const bool has_time = line.at - *question.asked_at + 1ms < to_duration(question.settings->timeout);
  if (is_of_target && !question.has_read_end && line.upstream_code != "timeout" && has_time &&
      question.urls.size() < question.settings->targets.size())
    violated_by(question, "fails although another target was not asked");
  if (question.retries() >= question.settings->upstream_retries) return;
  if (was_free && line.upstream_code != "timeout" && line.outcome == "error" &&
      (!was_received || question.attempts.back().retry_after <= 10s))
    violated_by(question, "fails although a retry is free");
}

void Judge::check_log(const Question& question) {
  if (lacked_memory()) return;
  if (question.lines.size() != 1)
    violated_by(question, fmt::format("has {} lines in the log instead of 1", question.lines.size()));
  const Question::Line& line = question.lines.front();
  if (question.repeats == nullptr) {
    check_time(question, line);
    check_persistence(question, line);
  }
  // The request to close a kept connection follows the end of the answer, and may be cut off from it.
  const bool ends_later = question.is_kept && (question.is_slow || line.outcome == "client_gone");
  if (question.is_told_complete && line.outcome != "done" && !question.has_left && !question.is_cut &&
      !ends_later)
    violated_by(question, fmt::format("is complete but logged as {}", line.outcome));
  if (!question.error_code.empty() && question.has_end && !question.is_slow && !ends_later &&
      line.outcome != "error" && line.outcome != "timeout" && !question.has_left)
    violated_by(question, fmt::format("has failed but is logged as {}", line.outcome));
  if (line.outcome == "done" && question.has_end && !question.is_told_complete && !question.has_left)
    violated_by(question, "is logged as done but not complete");
  if (question.has_end && !question.has_left) {
    if (line.status != question.status)
      violated_by(question,
                  fmt::format("is logged with status {} instead of {}", line.status, question.status));
    if (!question.is_kept && line.bytes != question.received_bytes)
      violated_by(question,
                  fmt::format("is logged with {} bytes instead of {}", line.bytes, question.received_bytes));
  }
  if (question.is_told_complete) {
    const Usage& usage = question.attempts.back().usage;
    if (!line.usage || line.usage->input_tokens != usage.input_tokens ||
        line.usage->output_tokens != usage.output_tokens)
      violated_by(question, "is logged with a usage that the upstream did not send");
  }
}

void Judge::check_repetition(const Question& question) {
  if (!is_remembered(question) || !question.has_end || question.stopped_at) return;
  const Question& failed = *question.repeats;
  if (question.error_code != failed.error_code)
    violated_by(question,
                fmt::format("is answered with {} instead of {}", question.error_code, failed.error_code));
}

void Judge::check_end() const {
  for (const Question& question : record->questions()) {
    if (question.transfers > 0) violated_by(question, "the transfer goes on after the end of the product");
    if (!question.is_chat || !question.asked_at) continue;
    check_answer(question);
    check_log(question);
    if (question.repeats != nullptr) check_repetition(question);
  }
  if (state_.streams.taken() != 0)
    violated(fmt::format("{} permits are still taken at the end", state_.streams.taken()));
  for (const auto& loop : state_.board.loops()) {
    std::vector<ChatView> views;
    static_cast<void>(loop->read(0, SIZE_MAX, world->now(), views));
    if (!views.empty()) violated("the status board still shows chats");
  }
  if (ledger_ != nullptr) check_ledger();
  check_memory();
  if (lacked_memory()) return;
  // These take longer than a chat, so only some schedules run them.
  if (world->choices.below(8) == 0) check_totals();
  if (world->choices.one_in(64)) check_upstream_requests();
}

// What the ledger has counted is what the product has read of each answer, whatever became of that. Some
// lines are missing without memory.
void Judge::check_ledger() const {
  if (ledger_->open_leases() > 0) violated("a lease is still open at the end");
  if (lacked_memory()) return;
  uint64_t read = 0;
  for (const Question& question : record->questions()) {
    for (const Question::Line& line : question.lines) {
      if (line.usage) read += line.usage->input_tokens + line.usage->output_tokens;
    }
  }
  if (ledger_->used() != read)
    violated(fmt::format("the ledger has counted {} tokens, the answers had {}", ledger_->used(), read));
}

void Judge::check_memory() {
  size_t bound = kMemoryOfProgram;
  for (const Question& question : record->questions()) {
    bound += kMemoryOfStream;
    if (!question.settings) continue;
    bound += question.settings->client_buffer_bytes;
    for (const Attempt& attempt : question.attempts)
      bound += 6 * (attempt.text.size() + attempt.thought.size());
  }
  if (allocated().peak_bytes > bound)
    violated(
        fmt::format("the product uses {} bytes at its peak; the limit is {}", allocated().peak_bytes, bound));
}

void Judge::check_upstream_requests() const {
  const std::string text = state_.metrics.text({});
  for (const std::string_view bot : {kDefaultBot, kOtherBot}) {
    int requests = 0;
    for (const Question& question : record->questions()) {
      if (question.is_for_other_bot == (bot == kOtherBot)) requests += question.requests;
    }
    const std::string series = fmt::format("\nbailian_upstream_requests_total{{bot=\"{}\",target=\"", bot);
    int counted = 0;
    for (size_t at = text.find(series); at != std::string::npos; at = text.find(series, at + 1))
      counted += std::stoi(text.substr(text.find(' ', at)));
    if (counted != requests)
      violated(fmt::format("{} requests are counted for {} of {}", counted, requests, bot));
  }
}

void Judge::check_totals() const {
  const Totals totals = state_.metrics.totals();
  std::array<uint64_t, kOutcomes.size()> requests{};
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t retries = 0;
  for (const Question& question : record->questions()) {
    for (const Question::Line& line : question.lines) {
      for (const OutcomeRow& row : kOutcomes)
        requests.at(static_cast<size_t>(row.value)) += row.name == line.outcome;
      if (line.usage) input_tokens += line.usage->input_tokens;
      if (line.usage) output_tokens += line.usage->output_tokens;
    }
    retries += static_cast<uint64_t>(question.retries());
  }
  if (state_.board.sum(&LoopBoard::requests) !=
      std::accumulate(requests.begin(), requests.end(), uint64_t{0}))
    violated("the status board and the log differ in requests");
  if (totals.requests != requests) violated("the metrics and the log differ in requests");
  if (totals.input_tokens != input_tokens || totals.output_tokens != output_tokens)
    violated("the metrics and the log differ in tokens");
  if (totals.retries < retries) violated("the metrics count too few retries");
}

}  // namespace bailian::simulation
