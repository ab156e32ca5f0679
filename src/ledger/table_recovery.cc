// What remains when a process dies, or the table is lost.
#include <algorithm>
#include <optional>
#include <vector>

#include "ledger/table.h"

namespace bailian {
namespace {

// No answer uses more: a file may say anything.
constexpr uint64_t kMaxLeaseTokens = uint64_t{1} << 40;

uint64_t value(const Count& count) { return count.load(std::memory_order_acquire); }

void raise_to(Count& count, uint64_t least) {
  if (value(count) < least) count.store(least, std::memory_order_release);
}

void clamp(Count& count) {
  if (value(count) > kMaxLeaseTokens) count.store(kMaxLeaseTokens, std::memory_order_release);
}

DayTotals totals_of(const DaySlot& slot) {
  return {value(slot.input),   value(slot.output), value(slot.estimated),
          value(slot.answers), value(slot.cached), value(slot.refused)};
}

}  // namespace

Table::Recovered Table::close_leases_of(uint64_t owner) {
  Recovered recovered;
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    if (value(layout_->owners[chunk]) != owner) continue;
    for (size_t i = 0; i < kChunkSlots; ++i) {
      LeaseSlot& slot = layout_->leases[chunk * kChunkSlots + i];
      const uint64_t word = value(slot.tag);
      if (word == 0) continue;
      for (Count* const count : {&slot.granted, &slot.input, &slot.output, &slot.estimated}) clamp(*count);
      const UsedTokens used = close_dead(slot);
      const LeaseTag tag = LeaseTag::of(word);
      if (tag.entry < entries()) count(tag, used, false);
      ++recovered.leases;
      recovered.tokens += used.sum();
    }
    layout_->owners[chunk].store(0, std::memory_order_release);
  }
  return recovered;
}

void Table::raise(const Lock& lock, const JournalContents& journal) {
  if (day() == 0 && journal.day > 0) {
    // The table was lost. Its period goes on, so that a clock that was set back meanwhile begins no earlier
    // one.
    PeriodClock clock;
    clock.day = journal.day;
    clock.ends = journal.day_ends;
    store_clock(clock);
    begin_day(clock);
  }
  for (const auto& [key, totals] : journal.totals) {
    const auto& [total_day, name] = key;
    if (total_day + static_cast<Day>(kDays) <= day()) continue;
    Entry* const counted = find_or_add(lock, name);
    if (counted == nullptr) continue;
    DaySlot& slot = counted->days[static_cast<size_t>(total_day) % kDays];
    if (value(slot.day) > static_cast<uint64_t>(total_day)) continue;
    prepare_day(*counted, total_day);
    const Month month = month_of(total_day);
    if (value(counted->months[static_cast<size_t>(month) % kMonths].month) < static_cast<uint64_t>(month))
      prepare_month(*counted, month);
    raise_to(slot.input, totals.input);
    raise_to(slot.output, totals.output);
    raise_to(slot.estimated, totals.estimated);
    raise_to(slot.answers, totals.answers);
    raise_to(slot.cached, totals.cached);
    raise_to(slot.refused, totals.refused);
  }
}

void Table::reconcile(const Lock& lock, const JournalContents& journal) {
  raise(lock, journal);
  for (size_t i = 0; i < entries(); ++i) {
    std::array<uint64_t, kMonths> months{};
    for (DaySlot& slot : entry(i).days) {
      if (value(slot.day) == 0) continue;
      const uint64_t counted = totals_of(slot).tokens();
      const uint64_t committed = value(slot.committed);
      if (committed > counted) slot.estimated.fetch_add(committed - counted, std::memory_order_acq_rel);
      raise_to(slot.committed, counted);
      const auto month = static_cast<uint64_t>(month_of(static_cast<Day>(value(slot.day))));
      if (value(entry(i).months[month % kMonths].month) == month)
        months[month % kMonths] += value(slot.committed);
    }
    for (size_t m = 0; m < kMonths; ++m) raise_to(entry(i).months[m].committed, months[m]);
  }
}

JournalContents Table::settled(Day day) const {
  JournalContents contents;
  const PeriodClock running = clock();
  contents.day = running.day;
  contents.day_ends = running.ends;
  std::vector<std::optional<DayTotals>> totals(entries());
  for (size_t i = 0; i < totals.size(); ++i) {
    const DaySlot* const slot = account(entry(i), day).day;
    if (slot != nullptr) totals[i] = totals_of(*slot);
  }
  // After the counts: a lease that ends in between is missed this time, and is never counted twice.
  for_each_lease([&](const LeaseTag& tag, uint64_t, const UsedTokens& used) {
    if (tag.day != day) return;
    for (const size_t i : {tag.entry, size_t{0}}) {
      if (i >= totals.size() || !totals[i]) continue;
      totals[i]->input += used.input;
      totals[i]->output += used.output;
    }
  });
  for (size_t i = 0; i < totals.size(); ++i) {
    if (totals[i]) contents.totals[{day, entry(i).name.get()}] = *totals[i];
  }
  return contents;
}

}  // namespace bailian
