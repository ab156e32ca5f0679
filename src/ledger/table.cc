#include "ledger/table.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/file.h"
#include "base/text.h"

namespace bailian {
namespace {

using ClockWords = std::array<uint64_t, sizeof(PeriodClock) / 8>;

constexpr uint64_t kLowByte = 0xff;
constexpr uint64_t kLowHalf = 0xffffffff;

void begin_visitors(VisitorTable& table, Day day) {
  if (table.day.load(std::memory_order_acquire) == static_cast<uint64_t>(day)) return;
  table.day.store(0, std::memory_order_release);
  std::array<uint64_t, 2> key{};
  if (::getrandom(key.data(), sizeof key, 0) != sizeof key) throw_errno("cannot get a random key");
  for (size_t i = 0; i < key.size(); ++i) table.key[i].store(key[i], std::memory_order_relaxed);
  table.count.store(0, std::memory_order_relaxed);
  for (Count& group : table.groups) group.store(0, std::memory_order_relaxed);
  for (VisitorSlot& slot : table.slots) {
    slot.hash.store(0, std::memory_order_relaxed);
    slot.committed.store(0, std::memory_order_relaxed);
  }
  table.day.store(static_cast<uint64_t>(day), std::memory_order_release);
}

void add(Count& count, uint64_t more) {
  if (more > 0) count.fetch_add(more, std::memory_order_relaxed);
}

}  // namespace

// --- bots

size_t Table::entries() const {
  return std::min<size_t>(layout_->header.entries.load(std::memory_order_acquire), kEntries);
}

Entry* Table::find(std::string_view name) const {
  for (size_t i = 0; i < entries(); ++i) {
    if (entry(i).name.get() == name) return &entry(i);
  }
  return nullptr;
}

Entry* Table::find_or_add(const Lock&, std::string_view name) {
  if (Entry* const known = find(name)) return known;
  const size_t count = entries();
  if (count == kEntries) return nullptr;
  Entry& added = entry(count);
  added.name.set(name);
  if (day() > 0) {
    prepare_day(added, day());
    prepare_month(added, month_of(day()));
  }
  layout_->header.entries.store(count + 1, std::memory_order_release);
  return &added;
}

void Table::pause(const Lock&, Entry& entry, Pause pause, std::string_view message) {
  const uint64_t change = (entry.pause.load(std::memory_order_acquire) >> 8) + 1;
  entry.messages[change & 1].set(utf8_prefix(message, kMaxPauseMessageBytes));
  entry.pause.store(change << 8 | static_cast<uint64_t>(pause), std::memory_order_release);
  if (pause == Pause::kAtOnce) at_once_pauses().fetch_add(1, std::memory_order_release);
  // From the beginning of its page on.
  char* const file = reinterpret_cast<char*>(layout_);
  const auto page = static_cast<ptrdiff_t>(::sysconf(_SC_PAGESIZE));
  char* const start = file + (reinterpret_cast<char*>(&entry) - file) / page * page;
  const auto size = static_cast<size_t>(reinterpret_cast<char*>(&entry.inputs) - start);
  if (::msync(start, size, MS_SYNC) != 0) throw_errno(fmt::format("cannot write {}", path_));
}

// --- periods

PeriodClock Table::clock() const {
  const TableHeader& header = layout_->header;
  for (;;) {
    const uint64_t changes = header.clock_changes.load(std::memory_order_acquire);
    ClockWords words{};
    for (size_t i = 0; i < words.size(); ++i)
      words[i] = header.clocks[changes & 1][i].load(std::memory_order_acquire);
    if (header.clock_changes.load(std::memory_order_acquire) == changes)
      return std::bit_cast<PeriodClock>(words);
  }
}

// Into the one that does not hold, so that a process may die here.
void Table::store_clock(const PeriodClock& clock) {
  TableHeader& header = layout_->header;
  const uint64_t changes = header.clock_changes.load(std::memory_order_acquire) + 1;
  const auto words = std::bit_cast<ClockWords>(clock);
  for (size_t i = 0; i < words.size(); ++i)
    header.clocks[changes & 1][i].store(words[i], std::memory_order_release);
  header.clock_changes.store(changes, std::memory_order_release);
}

ClockChange Table::advance(const Lock&, const ClockReading& now, const TimeZone& zone) {
  const PeriodClock before = clock();
  PeriodClock after = before;
  const ClockChange change = bailian::advance(after, now, zone);
  if (after != before) store_clock(after);
  if (after.day != day()) begin_day(after);
  return change;
}

void Table::open_period(const Lock&, const ClockReading& now, const TimeZone& zone) {
  PeriodClock after = clock();
  open_period_of(after, now, zone);
  store_clock(after);
  begin_day(after);
}

void Table::begin_day(const PeriodClock& clock) {
  const Day day = static_cast<Day>(clock.day);
  for (size_t i = 0; i < entries(); ++i) {
    prepare_day(entry(i), day);
    prepare_month(entry(i), month_of(day));
  }
  begin_visitors(visitors(day), day);
  layout_->header.day.store(static_cast<uint64_t>(day), std::memory_order_release);
}

// Makes the day's counts 0, unless they are the day's already.
void Table::prepare_day(Entry& entry, Day day) {
  DaySlot& slot = entry.days[static_cast<size_t>(day) % kDays];
  if (slot.day.load(std::memory_order_acquire) == static_cast<uint64_t>(day)) return;
  slot.day.store(0, std::memory_order_release);
  for (Count* const count : {&slot.input, &slot.output, &slot.estimated, &slot.answers, &slot.cached,
                             &slot.refused, &slot.committed}) {
    count->store(0, std::memory_order_release);
  }
  slot.day.store(static_cast<uint64_t>(day), std::memory_order_release);
}

void Table::prepare_month(Entry& entry, Month month) {
  MonthSlot& slot = entry.months[static_cast<size_t>(month) % kMonths];
  if (slot.month.load(std::memory_order_acquire) == static_cast<uint64_t>(month)) return;
  slot.month.store(0, std::memory_order_release);
  slot.committed.store(0, std::memory_order_release);
  slot.month.store(static_cast<uint64_t>(month), std::memory_order_release);
}

Account Table::account(Entry& entry, Day day) {
  DaySlot& slot = entry.days[static_cast<size_t>(day) % kDays];
  const auto month = static_cast<uint64_t>(month_of(day));
  MonthSlot& month_slot = entry.months[month % kMonths];
  const bool has_day = slot.day.load(std::memory_order_acquire) == static_cast<uint64_t>(day);
  const bool has_month = month_slot.month.load(std::memory_order_acquire) == month;
  return {has_day ? &slot : nullptr, has_month ? &month_slot : nullptr};
}

bool Table::set_flags(Count& word, int64_t period, uint64_t flags) {
  uint64_t before = word.load(std::memory_order_acquire);
  for (;;) {
    const uint64_t set = Table::flags(word, period);
    if ((set & flags) == flags) return false;
    const uint64_t after = static_cast<uint64_t>(period) << 8 | set | flags;
    if (word.compare_exchange_weak(before, after, std::memory_order_acq_rel)) return true;
  }
}

uint64_t Table::flags(const Count& word, int64_t period) {
  const uint64_t value = word.load(std::memory_order_acquire);
  return value >> 8 == static_cast<uint64_t>(period) ? value & kLowByte : 0;
}

// --- leases

LeaseSlot* Table::acquire_slot() {
  for (;;) {
    uint64_t head = free_slots_.load(std::memory_order_acquire);
    const uint64_t first = head & kLowHalf;
    if (first == 0) {
      if (!acquire_chunk()) return nullptr;
      continue;
    }
    LeaseSlot& slot = layout_->leases[first - 1];
    const uint64_t next = slot.next.load(std::memory_order_acquire) & kLowHalf;
    if (free_slots_.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | next, std::memory_order_acq_rel))
      return &slot;
  }
}

void Table::release_slot(LeaseSlot& slot) noexcept {
  const auto place = static_cast<uint64_t>(&slot - layout_->leases.data()) + 1;
  uint64_t head = free_slots_.load(std::memory_order_acquire);
  do {
    slot.next.store(head & kLowHalf, std::memory_order_release);
  } while (
      !free_slots_.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | place, std::memory_order_acq_rel));
}

bool Table::acquire_chunk() {
  const std::scoped_lock locked(chunk_mutex_);
  if ((free_slots_.load(std::memory_order_acquire) & kLowHalf) != 0) return true;  // another thread did it
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    uint64_t nobody = 0;
    if (!layout_->owners[chunk].compare_exchange_strong(nobody, process_, std::memory_order_seq_cst))
      continue;
    for (size_t i = kChunkSlots; i-- > 0;) release_slot(layout_->leases[chunk * kChunkSlots + i]);
    return true;
  }
  return false;
}

void Table::count(const LeaseTag& tag, const UsedTokens& used, bool is_answer) noexcept {
  for (Entry* const counted : {&entry(tag.entry), &all()}) {
    DaySlot* const day = account(*counted, tag.day).day;
    if (day == nullptr) continue;
    add(day->input, used.input);
    add(day->output, used.output);
    add(day->estimated, used.estimated);
    add(day->answers, is_answer ? 1 : 0);
  }
}

void Table::for_each_lease(const LeaseVisitor& visit) const {
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    if (layout_->owners[chunk].load(std::memory_order_acquire) == 0) continue;
    for (size_t i = 0; i < kChunkSlots; ++i) {
      const LeaseSlot& slot = layout_->leases[chunk * kChunkSlots + i];
      const uint64_t word = slot.tag.load(std::memory_order_acquire);
      const LeaseTag tag = LeaseTag::of(word);
      if ((word & LeaseTag::kOpen) == 0 || tag.entry >= entries()) continue;
      const UsedTokens used{slot.input.load(std::memory_order_acquire),
                            slot.output.load(std::memory_order_acquire),
                            slot.estimated.load(std::memory_order_acquire)};
      const uint64_t granted = slot.granted.load(std::memory_order_acquire);
      if (slot.tag.load(std::memory_order_acquire) == word) visit(tag, granted, used);
    }
  }
}

}  // namespace bailian
