#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "ledger/period.h"

namespace bailian {

/// What one bot has used on one day. Each number only grows.
struct DayTotals {
  uint64_t input = 0;
  uint64_t output = 0;
  uint64_t estimated = 0;
  uint64_t answers = 0;
  uint64_t cached = 0;
  uint64_t refused = 0;

  [[nodiscard]] uint64_t tokens() const { return input + output + estimated; }
  void raise_to(const DayTotals& other);
  bool operator==(const DayTotals&) const = default;
};

/// By day and name of the bot; an empty name is all together.
using TotalsByDay = std::map<std::pair<Day, std::string>, DayTotals>;

struct JournalContents {
  TotalsByDay totals;
  int64_t day = 0;  // the last period that was begun; 0: none is noted
  int64_t day_ends = 0;
};

/// The journal as text: a line for each total, with a checksum. Each line begins and ends with a line end, so
/// that a line that was cut does not spoil the next one.
std::string journal_start();
std::string journal_lines(const JournalContents& contents);

struct ParsedJournal {
  enum class Kind { kJournal, kForeign, kNewer };
  Kind kind = Kind::kJournal;
  JournalContents contents;  // of the lines that are whole
  size_t faulty_lines = 0;
};
/// Any bytes. An empty text is a journal.
ParsedJournal parse_journal(std::string_view text);

}  // namespace bailian
