#include "ledger/file_lease.h"

#include <algorithm>

#include "ledger/visitors.h"

namespace bailian {
namespace {

// No answer uses more. The upstream may say anything.
constexpr uint64_t kMaxTokens = 1'000'000'000;
constexpr size_t kBytesPerToken = 3;

uint64_t tokens_of(size_t bytes) { return std::min<uint64_t>(bytes / kBytesPerToken, kMaxTokens); }

}  // namespace

FileLease::FileLease(Table& table, const MeteredBot& bot, const MeteredBot& all, const LeasePolicy& policy,
                     size_t question_bytes)
    : table_(table),
      at_once_pauses_(table.at_once_pauses().load(std::memory_order_acquire)),
      bot_(bot),
      all_(all),
      policy_(policy),
      question_tokens_(tokens_of(question_bytes)),
      expected_input_(question_tokens_ + added_input(bot)) {}

std::optional<Refusal> FileLease::open(std::string_view visitor, std::string_view idempotency_id) {
  const Day day = table_.day();
  tag_ = {.entry = table_.index_of(*bot_.entry.load(std::memory_order_acquire)), .day = day};
  if (!visitor.empty() && bot_.visitor_day_cap.load(std::memory_order_relaxed) != kNoCap)
    tag_.visitor = place_of(table_.visitors(day), tag_.entry, VisitorId(visitor));
  const auto scopes = scopes_of(table_, bot_, all_, day, tag_.visitor);
  LeaseSlot* const slot = scopes ? table_.acquire_slot() : nullptr;
  if (slot == nullptr) return Refusal{Refusal::Cause::kUnknown};
  has_visitor_ = scopes->has_visitor;
  slot->key.store(hash_of_key(table_.visitors(day), idempotency_id), std::memory_order_release);
  // A lease that another thread has just rolled back may have been in the way.
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (account_.open(*slot, scopes->scopes, tag_.word(), expected_input_, policy_.slice.load()))
      return std::nullopt;
  }
  table_.release_slot(*slot);
  const uint64_t needed = std::max<uint64_t>(expected_input_, 1);
  note_refusal(bot_, all_, table_, *scopes, needed);
  return refusal_of(table_, *scopes, needed)
      .value_or(Refusal{Refusal::Cause::kUsedUp, std::chrono::seconds(1)});
}

FileLease::~FileLease() {
  if (!account_.is_open()) return;
  const UsedTokens used = account_.close(is_abandoned_ && !is_finished_ && policy_.is_abort_worst.load());
  table_.count(tag_, used, is_finished_);
  table_.release_slot(account_.slot());
  const uint64_t input = attempt_input() > 0 ? attempt_input() : last_input_;
  if (input > 0) note_added_input(bot_, input - std::min(input, question_tokens_));
}

bool FileLease::take(const UsedTokens& used) noexcept {
  const bool fits = account_.settle(used);
  const uint64_t pauses = table_.at_once_pauses().load(std::memory_order_acquire);
  if (pauses == at_once_pauses_) return fits;
  if (is_paused_at_once(bot_, all_)) return false;
  at_once_pauses_ = pauses;
  return fits;
}

bool FileLease::settle(const Usage& usage) noexcept {
  // Usage only grows, whatever the upstream says.
  const UsedTokens used = account_.used();
  const bool fits = take({std::max(used.input, before_.input + std::min(usage.input_tokens, kMaxTokens)),
                          std::max(used.output, before_.output + std::min(usage.output_tokens, kMaxTokens)),
                          before_.estimated});
  if (used.input == 0 && account_.used().input > 0) account_.give_back_surplus();  // now the input is known
  return fits;
}

bool FileLease::settle_estimate(size_t answer_bytes) noexcept {
  UsedTokens used = account_.used();
  if (used.input == before_.input && used.output == before_.output) {
    used.estimated = std::max(used.estimated, before_.estimated + expected_input_ + tokens_of(answer_bytes));
  }
  return take(used);
}

bool FileLease::is_paused() const noexcept {
  return table_.at_once_pauses().load(std::memory_order_acquire) != at_once_pauses_ &&
         is_paused_at_once(bot_, all_);
}

Refusal FileLease::refusal() const {
  if (is_paused_at_once(bot_, all_)) {
    if (auto pause = pause_of(bot_, all_)) return *std::move(pause);
  }
  const BotScopes scopes{account_.scopes(), has_visitor_};
  return refusal_of(table_, scopes, 1).value_or(Refusal{Refusal::Cause::kUsedUp, std::chrono::seconds(1)});
}

void FileLease::start_next_attempt() noexcept {
  if (attempt_input() > 0) last_input_ = attempt_input();
  before_ = account_.used();
  account_.reserve(expected_input_);
}

}  // namespace bailian
