// The open answers of a RedisHost: what of them goes into a batch, and when the server is silent.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "base/log.h"
#include "ledger/redis_host.h"
#include "ledger/redis_lease.h"
#include "ledger/visitors.h"

namespace bailian {
namespace {

constexpr size_t kMaxExtensions = 512;  // in a batch

struct Used {
  uint64_t input, output, estimated;
  [[nodiscard]] uint64_t sum() const { return input + output + estimated; }
};
Used used_by(const RedisSlot& slot) {
  return {slot.input.load(std::memory_order_relaxed), slot.output.load(std::memory_order_relaxed),
          slot.estimated.load(std::memory_order_relaxed)};
}

bool is_closed(const RedisSlot& slot) { return slot.is_closed.load(std::memory_order_acquire); }
bool may_go_on(const RedisSlot& slot) {
  return slot.verdict.load(std::memory_order_relaxed) == RedisVerdict::kNone;
}
int64_t difference(uint64_t now, uint64_t before) {
  return static_cast<int64_t>(now) - static_cast<int64_t>(before);
}

}  // namespace

// What the loops have handed over since the last time.
void RedisHost::take_over() {
  const std::scoped_lock locked(shared_.mutex);
  slots_.insert(slots_.end(), shared_.taken.begin(), shared_.taken.end());
  shared_.taken.clear();
  if (settings_version_ != shared_.settings_version) {
    settings_ = shared_.settings;
    settings_version_ = shared_.settings_version;
    zone_.emplace(settings_.timezone);
    for (RedisSlot* const slot : slots_) {
      slot->is_capped = redis_caps(settings_, slot->bot).any();
      slot->granted.store(slot->is_capped ? slot->committed : UINT64_MAX, std::memory_order_relaxed);
    }
  }
  for (auto& order : shared_.orders) orders_.push_back(std::move(order));
  shared_.orders.clear();
  shared_.free.insert(shared_.free.end(), recycled_.begin(), recycled_.end());
  recycled_.clear();
  history_days_ = std::max(history_days_, std::exchange(shared_.history_days, 0));
  if (clock_.day == 0) return;
  for (const auto& [bot, numbers] : shared_.counted) {
    RedisBatch::Count& count = count_of(static_cast<Day>(clock_.day), bot);
    count.cached += numbers.first;
    count.refused += numbers.second;
  }
  shared_.counted.clear();
}

bool RedisHost::has_urgent() const {
  return !orders_.empty() || std::any_of(slots_.begin(), slots_.end(), [](const RedisSlot* slot) {
    if (slot->is_waiting || is_closed(*slot)) return true;
    if (!slot->is_capped || !may_go_on(*slot)) return false;
    return used_by(*slot).sum() > slot->committed || slot->reserves.load(std::memory_order_relaxed) > 0;
  });
}

void RedisHost::build_batch(bool with_totals) {
  assert(!has_batch_);
  ++header_.sequence;
  header_.day = static_cast<Day>(clock_.day);
  header_.opened = opened_;
  header_.new_visitor_key = random_hex(4);
  header_.new_epoch = random_hex(2);
  batch_ = {};
  asked_.clear();
  asked_new_ = 0;

  std::map<std::pair<Day, std::string>, std::pair<uint64_t, uint64_t>> open;
  for (auto& [key, numbers] : open_) open[key] = {0, 0};
  size_t kept = 0;
  for (RedisSlot* const slot : slots_) {
    if (slot->day == 0) slot->day = header_.day;
    RedisBatch::Count& count = count_of(slot->day, slot->bot);
    if (is_closed(*slot)) {
      close_slot(*slot, count);
      recycle(*slot);
      continue;
    }
    slots_[kept++] = slot;
    if (slot->is_waiting) {
      add_waiting(*slot);
      continue;
    }
    add_slot(*slot, count);
    auto& [tokens, leases] = open[{slot->day, slot->bot}];
    const uint64_t used = used_by(*slot).sum();
    tokens += slot->committed > used ? slot->committed - used : 0;
    ++leases;
  }
  slots_.resize(kept);

  for (auto& [key, count] : counts_) {
    if (!count.is_nothing()) batch_.counts.push_back(std::move(count));
  }
  counts_.clear();
  for (const auto& [key, numbers] : open)
    batch_.open.push_back({key.first, key.second, numbers.first, numbers.second});
  std::erase_if(open, [](const auto& entry) { return entry.second.second == 0; });
  // A grant of this batch becomes open by it.
  for (const auto& lease : batch_.leases) open.try_emplace({lease.day, lease.bot}, 0, 0);
  open_ = std::move(open);
  for (auto& order : orders_) batch_.orders.push_back(order->order);
  asked_orders_ = std::exchange(orders_, {});
  asked_totals_.clear();
  if (with_totals) {
    asked_totals_.emplace_back();
    for (const auto& [name, bot] : settings_.bots) asked_totals_.push_back(name);
  }
  // Whoever leaves is forgotten, and with him what was executed: so only with a batch of nothing.
  header_.leaves = is_leaving_ && batch_.is_nothing();
  has_batch_ = true;
}

RedisBatch::Count& RedisHost::count_of(Day day, const std::string& bot) {
  RedisBatch::Count& count = counts_[{day, bot}];
  count.day = day;
  count.bot = bot;
  return count;
}

// It has not been granted anything yet.
void RedisHost::add_waiting(RedisSlot& slot) {
  if (asked_new_ == kMaxLeases) return;  // however many are extended: a question waits for 2 s only
  slot.day = header_.day;
  RedisCaps caps = redis_caps(settings_, slot.bot);
  if (caps.visitor_day != kNoCap && !slot.visitor.empty()) {
    if (!visitor_keys_.contains(slot.day)) return;  // this batch brings the key
    hash_visitor(slot);
  }
  batch_.leases.push_back({.is_extension = false,
                           .day = slot.day,
                           .bot = slot.bot,
                           .visitor = slot.visitor_hash,
                           .input = slot.expected_input,
                           .slice = settings_.slice,
                           .left = 0,
                           .missing = 0,
                           .caps = caps});
  asked_.push_back({&slot, false, 0});
  ++asked_new_;
}

// Without the key of the day nobody finds out whose it is.
void RedisHost::hash_visitor(RedisSlot& slot) {
  const std::string& key = visitor_keys_[slot.day];
  slot.visitor_hash = fmt::format(
      "{:016x}", keyed_hash(keyed_hash(0, 0, key), keyed_hash(1, 1, key), slot.visitor + '\n' + slot.bot));
}

// One that has to end keeps no more than it has used.
void RedisHost::add_slot(RedisSlot& slot, RedisBatch::Count& count) {
  count_used(slot, count);
  const uint64_t used = slot.counted_input + slot.counted_output + slot.counted_estimated;
  if (slot.is_capped && may_go_on(slot)) return extend_if_low(slot, used);
  commit(slot, count, difference(used, slot.committed));
}

void RedisHost::count_used(RedisSlot& slot, RedisBatch::Count& count) {
  const Used used = used_by(slot);
  count.input += difference(used.input, std::exchange(slot.counted_input, used.input));
  count.output += difference(used.output, std::exchange(slot.counted_output, used.output));
  count.estimated += difference(used.estimated, std::exchange(slot.counted_estimated, used.estimated));
}

void RedisHost::commit(RedisSlot& slot, RedisBatch::Count& count, int64_t tokens) {
  if (tokens == 0) return;
  slot.committed = static_cast<uint64_t>(static_cast<int64_t>(slot.committed) + tokens);
  count.committed += tokens;
  if (!slot.visitor_hash.empty()) batch_.visitors.push_back({slot.day, slot.visitor_hash, tokens});
}

void RedisHost::extend_if_low(RedisSlot& slot, uint64_t used) {
  if (batch_.leases.size() >= kMaxLeases + kMaxExtensions) return;
  const uint64_t slice = settings_.slice;
  const uint64_t left = slot.committed > used ? slot.committed - used : 0;
  const uint64_t missing = used > slot.committed ? used - slot.committed : 0;
  const uint64_t input = slot.reserves.exchange(0, std::memory_order_relaxed);
  if (missing == 0 && input == 0 && left >= slice / 2) {
    if (slot.counted_input == 0 || left <= slice + slice / 2) return;
    commit(slot, count_of(slot.day, slot.bot), difference(slice, left));  // the input was smaller
    slot.granted.store(slot.committed, std::memory_order_relaxed);
    return;
  }
  batch_.leases.push_back({.is_extension = true,
                           .day = slot.day,
                           .bot = slot.bot,
                           .visitor = slot.visitor_hash,
                           .input = input,
                           .slice = slice,
                           .left = left,
                           .missing = missing,
                           .caps = redis_caps(settings_, slot.bot)});
  asked_.push_back({&slot, true, missing});
}

// What it has not used is given back.
void RedisHost::close_slot(RedisSlot& slot, RedisBatch::Count& count) {
  const bool is_answer = slot.is_answer.load(std::memory_order_relaxed);
  const uint64_t used = used_by(slot).sum();
  if (settings_.is_abort_worst && slot.is_abandoned.load(std::memory_order_relaxed) && !is_answer &&
      slot.committed > used) {
    slot.estimated.fetch_add(slot.committed - used, std::memory_order_relaxed);
  }
  count_used(slot, count);
  count.answers += is_answer ? 1 : 0;
  commit(slot, count, difference(used_by(slot).sum(), slot.committed));
  const uint64_t added = slot.added_input.load(std::memory_order_relaxed);
  if (added > 0) batch_.inputs.push_back({slot.bot, added - 1});
}

void RedisHost::recycle(RedisSlot& slot) {
  for (auto* number :
       {&slot.input, &slot.output, &slot.estimated, &slot.reserves, &slot.added_input, &slot.granted})
    number->store(0, std::memory_order_relaxed);
  for (auto* fact : {&slot.is_answer, &slot.is_abandoned, &slot.is_closed, &slot.is_decided})
    fact->store(false, std::memory_order_relaxed);
  slot.verdict.store(RedisVerdict::kNone, std::memory_order_relaxed);
  slot.visitor_hash.clear();
  slot.visitor.clear();
  slot.day = 0;
  slot.is_waiting = false;
  slot.committed = slot.counted_input = slot.counted_output = slot.counted_estimated = 0;
  slot.generation.fetch_add(1, std::memory_order_release);
  recycled_.push_back(&slot);
}

// The lease may be gone, and with it the loop; while the mutex is held, neither goes.
void RedisHost::decide(RedisSlot& slot, RedisVerdict verdict) {
  if (verdict != RedisVerdict::kNone) slot.verdict.store(verdict, std::memory_order_release);
  slot.is_decided.store(true, std::memory_order_release);
  const std::scoped_lock locked(shared_.mutex);
  if (is_closed(slot)) return;
  const uint64_t generation = slot.generation.load(std::memory_order_relaxed);
  slot.loop->post([own = &slot, generation] {
    if (own->generation.load(std::memory_order_acquire) == generation && own->lease != nullptr)
      own->lease->on_decided();
  });
}

// CAPS_ON_FAULT decides when the server is silent, and the owner at any time.
void RedisHost::obey_policy() {
  const auto pauses = [&](std::string_view bot) {
    const auto totals = view_.totals.find(bot);
    return totals != view_.totals.end() && totals->second.is_paused_at_once;
  };
  const bool all_pause = pauses({});
  const auto patience_ends = Clock::now() - kPatience;
  for (RedisSlot* const slot : slots_) {
    if (is_closed(*slot)) continue;
    if (slot->is_waiting) {
      if (!view_.is_away && slot->since > patience_ends) continue;
      slot->is_waiting = false;
      if (settings_.is_open_on_fault) slot->granted.store(UINT64_MAX, std::memory_order_relaxed);
      decide(*slot, settings_.is_open_on_fault ? RedisVerdict::kNone : RedisVerdict::kUnknown);
      continue;
    }
    const bool is_used_up = slot->is_capped && used_by(*slot).sum() > slot->committed;
    if (all_pause || pauses(slot->bot)) {
      slot->verdict.store(RedisVerdict::kPaused, std::memory_order_relaxed);
    } else if (view_.is_away && is_used_up && !settings_.is_open_on_fault && may_go_on(*slot)) {
      slot->verdict.store(RedisVerdict::kUnknown, std::memory_order_relaxed);
    }
  }
}

}  // namespace bailian
