// Whatever a journal says, what is read from it can be written and read again, and what is appended to it is
// not lost.
#include "fuzz.h"
#include "ledger/journal_text.h"

namespace bailian {
namespace {

bool is_no_less(const TotalsByDay& totals, const TotalsByDay& least) {
  for (const auto& [key, needed] : least) {
    const auto found = totals.find(key);
    if (found == totals.end()) return false;
    DayTotals raised = found->second;
    raised.raise_to(needed);
    if (raised != found->second) return false;
  }
  return true;
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  const ParsedJournal parsed = parse_journal(text);
  for (const auto& [key, totals] : parsed.contents.totals)
    fuzz::expect(key.first > 0 && totals.input < UINT64_MAX / 4, "the numbers are in their ranges");

  const ParsedJournal again = parse_journal(journal_start() + journal_lines(parsed.contents));
  fuzz::expect(again.kind == ParsedJournal::Kind::kJournal, "what was written is a journal");
  fuzz::expect(again.faulty_lines == 0, "what was written has no fault");
  fuzz::expect(again.contents.totals == parsed.contents.totals, "what was read is written as it was");
  fuzz::expect(again.contents.day == parsed.contents.day, "so is the period");

  JournalContents more;
  more.totals[{20784, "shop"}] = {.input = size, .output = 1};
  more.day = 20784;
  const std::string batch = journal_lines(more);
  std::string longer(text);
  longer += batch;
  const ParsedJournal appended = parse_journal(longer);
  fuzz::expect(appended.kind != ParsedJournal::Kind::kForeign, "a line of ours makes it ours");
  fuzz::expect(is_no_less(appended.contents.totals, more.totals),
               "what is appended is read, whatever is before it");
  fuzz::expect(is_no_less(appended.contents.totals, parsed.contents.totals), "and spoils nothing");

  if (size == 0) return 0;
  auto random = fuzz::choices_for(text);
  longer = batch + batch;
  longer[random() % batch.size()] = static_cast<char>(data[random() % size]);
  fuzz::expect(is_no_less(parse_journal(longer).contents.totals, more.totals),
               "one byte that changes loses nothing");
  return 0;
}
