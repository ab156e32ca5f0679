#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace bailian {

// How tokens move between what is free and what an open answer may use. All of it is shared by threads and
// processes, any of which may be killed between two instructions; nothing locks.
//
// Each scope (a visitor's day, a bot's day and month, the day and month of all) has one counter, `committed`:
// what was used and what open leases may still use. The order of the steps keeps, after each of them:
//
//   committed >= what was used before + the sum of `granted` of the open leases,   granted >= used by the
//   lease
//
// so that a process that is killed anywhere leaves too much counted, by less than its leases, and never too
// little. So tokens are committed before they are granted, granted before they are used, and taken from
// the lease before they are given back.
//
// The Cell is std::atomic<uint64_t>. tests/unit/ledger/interleaving_test.cc runs it with one that stops at
// each step.

inline constexpr uint64_t kNoCap = std::numeric_limits<uint64_t>::max();
/// No lease for an answer is smaller than this, beyond the input, if there is room; nor larger than the
/// sixteenth part of the room.
inline constexpr uint64_t kMinSlice = 64;
inline constexpr uint64_t kRoomShare = 16;

/// The output tokens that an answer gets at once, with `room` free tokens.
constexpr uint64_t slice_within(uint64_t room, uint64_t slice) {
  return std::min(room, std::min(slice, std::max(kMinSlice, room / kRoomShare)));
}

/// The size of a first lease. 0: the expected input does not fit.
constexpr uint64_t lease_within(uint64_t room, uint64_t expected_input, uint64_t slice) {
  if (room == 0 || room < expected_input) return 0;
  const uint64_t least = expected_input + std::min(slice, kMinSlice);
  return std::min(room, std::max(least, std::min(expected_input + slice, room / kRoomShare)));
}

/// The scopes that an answer is counted in, the innermost first.
template <typename Cell>
class ScopesOf {
 public:
  void add(Cell& committed, const Cell& cap) { scopes_[size_++] = {&committed, &cap}; }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] uint64_t cap(size_t i) const { return scopes_[i].cap->load(std::memory_order_relaxed); }

  /// The free tokens of one scope.
  [[nodiscard]] uint64_t room(size_t i) const {
    const uint64_t most = cap(i);
    const uint64_t committed = scopes_[i].committed->load(std::memory_order_acquire);
    return most > committed ? most - committed : 0;
  }
  /// The free tokens of the scope that has the fewest.
  [[nodiscard]] uint64_t room() const {
    uint64_t least = kNoCap;
    for (size_t i = 0; i < size_; ++i) least = std::min(least, room(i));
    return least;
  }

  /// Commits the tokens in every scope. False: they do not fit in one of them, and nothing is committed.
  bool commit(uint64_t tokens) {
    for (size_t i = 0; i < size_; ++i) {
      if (add(i, tokens)) continue;
      while (i-- > 0) take(i, tokens);
      return false;
    }
    return true;
  }
  /// Commits them whether they fit or not: they are used.
  void overdraw(uint64_t tokens) {
    for (size_t i = 0; i < size_; ++i) scopes_[i].committed->fetch_add(tokens, std::memory_order_acq_rel);
  }
  void give_back(uint64_t tokens) {
    for (size_t i = size_; i-- > 0;) take(i, tokens);
  }

 private:
  struct Scope {
    Cell* committed;
    const Cell* cap;
  };

  bool add(size_t i, uint64_t tokens) {
    Cell& committed = *scopes_[i].committed;
    const uint64_t most = cap(i);
    uint64_t before = committed.load(std::memory_order_acquire);
    do {
      if (before > most || most - before < tokens) return false;
    } while (!committed.compare_exchange_weak(before, before + tokens, std::memory_order_acq_rel,
                                              std::memory_order_acquire));
    return true;
  }
  // Not below zero: a file may say anything.
  void take(size_t i, uint64_t tokens) {
    Cell& committed = *scopes_[i].committed;
    uint64_t before = committed.load(std::memory_order_acquire);
    while (!committed.compare_exchange_weak(before, before - std::min(before, tokens),
                                            std::memory_order_acq_rel, std::memory_order_acquire)) {
    }
  }

  std::array<Scope, 5> scopes_{};
  size_t size_ = 0;
};

/// An open lease in the ledger, a cache line. Only the thread that owns it writes it, and whoever finds that
/// its process has died.
template <typename Cell>
struct alignas(64) LeaseSlotOf {
  Cell tag;        // 0: free. Otherwise whose lease it is
  Cell granted;    // tokens that it has committed
  Cell input;      // tokens that it has used
  Cell output;     // likewise
  Cell estimated;  // likewise, without usage from the upstream
  Cell next;       // for the list of free ones
  Cell key;        // a hash of its Idempotency-Key, written before the tag; 0: none
};

struct UsedTokens {
  uint64_t input = 0;
  uint64_t output = 0;
  uint64_t estimated = 0;
  [[nodiscard]] uint64_t sum() const { return input + output + estimated; }
};

/// The tokens of one lease, for the thread that owns it.
template <typename Cell>
class LeaseAccountOf {
 public:
  /// `tag` is not 0. False: `expected_input` does not fit, and the slot is still free.
  bool open(LeaseSlotOf<Cell>& slot, const ScopesOf<Cell>& scopes, uint64_t tag, uint64_t expected_input,
            uint64_t slice) {
    scopes_ = scopes;
    slice_ = slice;
    uint64_t size = 0;
    do {
      size = lease_within(scopes_.room(), expected_input, slice);
      if (size == 0) return false;
    } while (!scopes_.commit(size));
    slot_ = &slot;
    low_ = std::min(size - std::min(size, expected_input), slice) / 2;
    slot.input.store(0, std::memory_order_relaxed);
    slot.output.store(0, std::memory_order_relaxed);
    slot.estimated.store(0, std::memory_order_relaxed);
    grant(size);
    // In one order with the looks at other leases: see Table::is_under_way_elsewhere().
    slot.tag.store(tag, std::memory_order_seq_cst);
    return true;
  }

  /// The tokens used so far. False: more than was granted, and no more could be; they are counted all the
  /// same.
  bool settle(const UsedTokens& used) {
    const uint64_t sum = used.sum();
    const bool fits = (sum + low_ <= granted_ && !is_overdrawn_) || extend(sum, 0);
    slot_->input.store(used.input, std::memory_order_release);
    slot_->output.store(used.output, std::memory_order_release);
    slot_->estimated.store(used.estimated, std::memory_order_release);
    used_ = used;
    return fits;
  }

  /// Gets `input` tokens and a slice, or as much of it as is free, beyond what is used.
  void reserve(uint64_t input) { (void)extend(used_.sum(), input); }

  /// Gives back what is beyond what is used and a slice, if it is much.
  void give_back_surplus() {
    const uint64_t kept = used_.sum() + slice_;
    if (granted_ > kept + slice_ / 2) give_back(granted_ - kept);
  }

  /// Frees the slot. With `worst` the whole lease is used. Returns what was used, which is not in any count
  /// of a day yet.
  UsedTokens close(bool worst) {
    const uint64_t left = granted_ - used_.sum();
    if (worst) {
      used_.estimated += left;
      slot_->estimated.store(used_.estimated, std::memory_order_release);
    } else if (left > 0) {
      give_back(left);
    }
    slot_->tag.store(0, std::memory_order_release);
    return used_;
  }

  [[nodiscard]] bool is_open() const { return slot_ != nullptr; }
  [[nodiscard]] LeaseSlotOf<Cell>& slot() const { return *slot_; }
  [[nodiscard]] const ScopesOf<Cell>& scopes() const { return scopes_; }
  [[nodiscard]] uint64_t granted() const { return granted_; }
  [[nodiscard]] const UsedTokens& used() const { return used_; }

 private:
  bool extend(uint64_t used, uint64_t input) {
    const uint64_t missing = used > granted_ ? used - granted_ : 0;
    const uint64_t left = granted_ > used ? granted_ - used : 0;
    for (;;) {
      const uint64_t room = scopes_.room();
      if (room < missing || (is_overdrawn_ && room == 0)) {
        is_overdrawn_ = true;
        low_ = 0;
        scopes_.overdraw(missing);
        grant(granted_ + missing);
        return false;
      }
      is_overdrawn_ = false;
      // What is free once the answer has what it used.
      const uint64_t beyond = room - missing;
      const uint64_t wanted = std::min(beyond + left, input + slice_within(beyond, slice_));
      const uint64_t more = missing + (wanted > left ? wanted - left : 0);
      low_ = slice_within(beyond, slice_) / 2;
      if (more == 0) return true;
      if (scopes_.commit(more)) {
        grant(granted_ + more);
        return true;
      }
    }
  }
  void grant(uint64_t tokens) {
    granted_ = tokens;
    slot_->granted.store(tokens, std::memory_order_release);
  }
  void give_back(uint64_t tokens) {
    grant(granted_ - tokens);
    scopes_.give_back(tokens);
  }

  // What each frame reads and writes is a cache line.
  LeaseSlotOf<Cell>* slot_ = nullptr;
  uint64_t granted_ = 0;
  uint64_t low_ = 0;           // with less than this left, more is asked for
  bool is_overdrawn_ = false;  // and nothing was free since
  UsedTokens used_;
  uint64_t slice_ = 0;
  ScopesOf<Cell> scopes_;
};

/// Closes the lease of a process that has died. All of it counts: the upstream may have sent more than was
/// seen.
template <typename Cell>
UsedTokens close_dead(LeaseSlotOf<Cell>& slot) {
  UsedTokens used{slot.input.load(std::memory_order_acquire), slot.output.load(std::memory_order_acquire),
                  slot.estimated.load(std::memory_order_acquire)};
  const uint64_t granted = slot.granted.load(std::memory_order_acquire);
  if (granted > used.sum()) used.estimated += granted - used.sum();
  slot.tag.store(0, std::memory_order_release);
  return used;
}

}  // namespace bailian
