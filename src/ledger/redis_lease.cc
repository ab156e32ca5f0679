#include "ledger/redis_lease.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "ledger/redis_ledger.h"

namespace bailian {
namespace {

constexpr uint64_t kMaxTokens = 1'000'000'000;  // no answer uses more, whatever the upstream says
constexpr size_t kBytesPerToken = 3;

}  // namespace

RedisLease::RedisLease(const RedisLedger& ledger, RedisShared& shared, RedisSlot& slot, LeaseHandler& handler,
                       bool is_pending, uint64_t question_tokens)
    : ledger_(ledger),
      shared_(shared),
      slot_(slot),
      handler_(handler),
      is_pending_(is_pending),
      question_tokens_(question_tokens) {
  slot_.lease = this;
}

RedisLease::~RedisLease() {
  slot_.lease = nullptr;
  if (last_input_ > 0) {
    const uint64_t added = last_input_ - std::min(last_input_, question_tokens_);
    slot_.added_input.store(added + 1, std::memory_order_relaxed);
  }
  if (is_pending_) {
    // While the ledger's thread has the mutex, it may post to the loop.
    const std::scoped_lock locked(shared_.mutex);
    slot_.is_closed.store(true, std::memory_order_release);
  } else {
    slot_.is_closed.store(true, std::memory_order_release);
  }
  shared_.wake();
}

bool RedisLease::settle() noexcept {
  const uint64_t input = before_.input + attempt_.input;
  const uint64_t output = before_.output + attempt_.output;
  const uint64_t estimated = before_.estimated + attempt_.estimated;
  slot_.input.store(input, std::memory_order_relaxed);
  slot_.output.store(output, std::memory_order_relaxed);
  slot_.estimated.store(estimated, std::memory_order_relaxed);
  if (input + output + estimated <= slot_.granted.load(std::memory_order_relaxed)) {
    has_asked_ = false;
  } else if (!std::exchange(has_asked_, true)) {
    shared_.wake();
  }
  return slot_.verdict.load(std::memory_order_relaxed) == RedisVerdict::kNone;
}

bool RedisLease::settle(const Usage& usage) noexcept {
  attempt_.input = std::max(attempt_.input, std::min(usage.input_tokens, kMaxTokens));
  attempt_.output = std::max(attempt_.output, std::min(usage.output_tokens, kMaxTokens));
  attempt_.estimated = 0;
  last_input_ = attempt_.input;
  return settle();
}

bool RedisLease::settle_estimate(size_t answer_bytes) noexcept {
  const uint64_t tokens =
      slot_.expected_input + std::min<uint64_t>(answer_bytes / kBytesPerToken, kMaxTokens);
  if (attempt_.input + attempt_.output == 0) attempt_.estimated = std::max(attempt_.estimated, tokens);
  return settle();
}

Refusal RedisLease::refusal() const {
  return ledger_.refusal_of(slot_.verdict.load(std::memory_order_relaxed), slot_.bot);
}

void RedisLease::start_next_attempt() noexcept {
  before_.input += attempt_.input;
  before_.output += attempt_.output;
  before_.estimated += attempt_.estimated;
  attempt_ = {};
  slot_.reserves.store(slot_.expected_input, std::memory_order_relaxed);
  shared_.wake();
}

void RedisLease::on_decided() {
  if (!is_pending_) return;
  assert(slot_.is_decided.load());
  is_pending_ = false;
  if (slot_.verdict.load(std::memory_order_acquire) == RedisVerdict::kNone) return handler_.on_leased();
  handler_.on_lease_refused(refusal());  // it may destroy this
}

}  // namespace bailian
