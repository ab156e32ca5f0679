#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ledger/lease_account.h"
#include "ledger/ledger.h"
#include "ledger/period.h"

namespace bailian {

// The file of the ledger, as it is mapped into each process. Every word that may change is atomic, and 0 in a
// new file.

using Count = std::atomic<uint64_t>;
static_assert(Count::is_always_lock_free && sizeof(Count) == 8);
using LeaseSlot = LeaseSlotOf<Count>;
static_assert(sizeof(LeaseSlot) == 64);
using LeaseAccount = LeaseAccountOf<Count>;
using Scopes = ScopesOf<Count>;

inline constexpr size_t kEntries = 512;  // bots that ever were, and all of them together
inline constexpr size_t kDays = 128;
inline constexpr size_t kMonths = 4;
inline constexpr size_t kInputs = 32;       // answers whose input is remembered
inline constexpr size_t kVisitors = 65536;  // of a day
inline constexpr size_t kVisitorSlots = 2 * kVisitors;
inline constexpr size_t kVisitorGroups = 256;  // for those who come later
inline constexpr size_t kProcesses = 64;
inline constexpr size_t kChunks = 2048;
inline constexpr size_t kChunkSlots = 64;
inline constexpr size_t kLeases = kChunks * kChunkSlots;

/// A short text that one process changes while others read it.
template <size_t max_bytes>
class SharedText {
 public:
  void set(std::string_view text) {
    for (size_t i = 0; i < words_.size(); ++i) {
      uint64_t word = 0;
      for (size_t j = 0; j < 8 && 8 * i + j < text.size(); ++j)
        word |= uint64_t{static_cast<unsigned char>(text[8 * i + j])} << 8 * j;
      words_[i].store(word, std::memory_order_relaxed);
    }
  }
  /// Up to the first zero byte.
  [[nodiscard]] std::string get() const {
    std::string text;
    for (const Count& cell : words_) {
      const uint64_t word = cell.load(std::memory_order_relaxed);
      for (size_t j = 0; j < 8; ++j) {
        const char c = static_cast<char>(word >> 8 * j & 0xff);
        if (c == 0) return text;
        text += c;
      }
    }
    return text;
  }

 private:
  static_assert(max_bytes % 8 == 0);
  std::array<Count, max_bytes / 8> words_;
};

struct alignas(64) DaySlot {
  Count day;  // whose counts these are; 0: of none
  Count input;
  Count output;
  Count estimated;
  Count answers;
  Count cached;
  Count refused;
  Count committed;  // what was used, and what open leases may still use
};
static_assert(sizeof(DaySlot) == 64);

struct MonthSlot {
  Count month;
  Count committed;
};

enum class Pause : uint64_t { kNone, kPaused, kAtOnce };

/// A bot, or all together.
struct alignas(64) Entry {
  SharedText<64> name;  // never changed
  Count pause;          // a Pause, and above its lowest byte how often there was a change
  Count day_flags;      // EntryFlag, above the lowest byte the day
  Count month_flags;    // likewise, with the month
  Count next_input;
  std::array<SharedText<kMaxPauseMessageBytes>, 2> messages;  // by the lowest bit of the number of changes
  alignas(64) std::array<Count, kInputs> inputs;  // one more than the tokens that the upstream added; 0: none
  alignas(64) std::array<MonthSlot, kMonths> months;
  std::array<DaySlot, kDays> days;
};

enum EntryFlag : uint64_t { kAlerted80 = 1, kAlerted100 = 2, kRefused = 4, kVisitorRefused = 8 };

struct VisitorSlot {
  Count hash;  // 0: free
  Count committed;
};

/// The visitors of one day. The key of their hashes is overwritten with the next day's.
struct alignas(64) VisitorTable {
  Count day;
  Count count;
  std::array<Count, 2> key;
  alignas(64) std::array<Count, kVisitorGroups> groups;
  std::array<VisitorSlot, kVisitorSlots> slots;
};

struct TableHeader {
  std::array<Count, 2> magic;  // written last
  Count version;
  Count layout;
  Count entries;
  Count day;             // the running period
  Count at_once_pauses;  // how often one began
  Count clock_changes;   // the lowest bit says which of the clocks holds
  std::array<std::array<Count, sizeof(PeriodClock) / 8>, 2> clocks;
};

struct TableLayout {
  alignas(4096) TableHeader header;
  alignas(4096) std::array<Count, kChunks> owners;     // of each chunk of leases: a process, from 1; 0: free
  alignas(4096) std::array<Entry, kEntries> entries;   // the first is all together
  alignas(4096) std::array<VisitorTable, 2> visitors;  // by the lowest bit of the day
  alignas(4096) std::array<LeaseSlot, kLeases> leases;
};

/// What the tag of a lease says.
struct LeaseTag {
  size_t entry = 0;
  Day day = 0;
  uint64_t visitor = 0;  // one more than the place in the table of visitors; 0: none

  static constexpr uint64_t kOpen = uint64_t{1} << 63;
  [[nodiscard]] uint64_t word() const {
    return kOpen | uint64_t{entry} << 48 | visitor << 24 | static_cast<uint64_t>(day);
  }
  static LeaseTag of(uint64_t word) {
    return {word >> 48 & 0x7fff, static_cast<Day>(word & 0xffffff), word >> 24 & 0xffffff};
  }
};

}  // namespace bailian
