#include "ledger/journal.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "ledger/table.h"
#include "unit/ledger/ledger_folder.h"

namespace bailian {
namespace {

constexpr Day kToday = 20784;
using Kind = ParsedJournal::Kind;

DayTotals totals_of(uint64_t n) {
  return {.input = n, .output = 2 * n, .estimated = n / 2, .answers = n / 100};
}

JournalContents contents_of(uint64_t n, Day day = kToday) {
  JournalContents contents;
  contents.totals[{day, ""}] = totals_of(3 * n);
  contents.totals[{day, "default"}] = totals_of(n);
  contents.totals[{day, "shop"}] = totals_of(2 * n);
  contents.day = day;
  contents.day_ends = int64_t{day} * 86400 + 57600;
  return contents;
}

std::string content(const std::string& path) { return read_file(path, size_t{1} << 24).value_or(""); }

/// A journal of three batches, and its text after each of them.
struct ThreeBatches {
  LedgerFolder folder;
  std::vector<std::string> texts;
  std::vector<JournalContents> contents;

  ThreeBatches() {
    Journal journal(folder.journal());
    for (const uint64_t n : {100, 200, 350}) {
      contents.push_back(contents_of(n));
      journal.write(contents.back());
      texts.push_back(content(folder.journal()));
    }
  }
};

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

TEST(Journals, AreReadAsTheyWereWritten) {
  const ThreeBatches batches;
  const ParsedJournal parsed = Journal::read(batches.folder.journal());
  EXPECT_EQ(parsed.kind, Kind::kJournal);
  EXPECT_EQ(parsed.faulty_lines, 0u);
  EXPECT_EQ(parsed.contents.totals, batches.contents.back().totals);
  EXPECT_EQ(parsed.contents.day, kToday);
  EXPECT_EQ(parsed.contents.day_ends, batches.contents.back().day_ends);
}

TEST(Journals, OfNothingAreReadAsNothing) {
  const LedgerFolder folder;
  EXPECT_TRUE(Journal::read(folder.journal()).contents.totals.empty());
  EXPECT_EQ(parse_journal("").kind, Kind::kJournal);
}

TEST(Journals, CutAtAnyByteSayNoLessThanTheirLastSync) {
  const ThreeBatches batches;
  const std::string& whole = batches.texts.back();
  for (size_t size = 0; size <= whole.size(); ++size) {
    const ParsedJournal parsed = parse_journal(std::string_view(whole).substr(0, size));
    ASSERT_EQ(parsed.kind, Kind::kJournal) << size;
    ASSERT_LE(parsed.faulty_lines, 1u);
    ASSERT_TRUE(is_no_less(batches.contents.back().totals, parsed.contents.totals))
        << "more than was written";
    for (size_t i = 0; i < batches.texts.size(); ++i) {
      if (batches.texts[i].size() > size) continue;
      ASSERT_TRUE(is_no_less(parsed.contents.totals, batches.contents[i].totals)) << size;
    }
  }
}

TEST(Journals, WithOneBitFlippedLoseNothing) {
  std::vector<std::string> texts = ThreeBatches().texts;
  JournalContents one_line;
  one_line.totals[{kToday, ""}] = totals_of(1000);
  texts.push_back(journal_start() + journal_lines(one_line) + journal_lines(one_line));
  for (const std::string& whole : texts) {
    const JournalContents expected = parse_journal(whole).contents;
    for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      const ParsedJournal parsed = parse_journal(flipped);
      ASSERT_EQ(parsed.kind, Kind::kJournal) << bit;
      ASSERT_EQ(parsed.contents.totals, expected.totals) << bit;
      ASSERT_EQ(parsed.contents.day, expected.day) << bit;
    }
  }
}

TEST(Journals, WithABlockOfZerosLoseNothing) {
  const ThreeBatches batches;
  const std::string& whole = batches.texts.front();
  constexpr size_t kLongestLine = 80;
  const size_t block =
      (whole.size() - journal_start().size()) / 2 - kLongestLine;  // as long as it hits one copy
  for (size_t at = 0; at + block <= whole.size(); ++at) {
    std::string damaged = whole;
    damaged.replace(at, block, block, '\0');
    ASSERT_EQ(parse_journal(damaged).contents.totals, batches.contents.front().totals) << at;
  }
}

TEST(Journals, OfOthersAreForeign) {
  for (const std::string& text : std::vector<std::string>{
           "x", "\n", "\n\n\n", "notes\n", std::string(1000, '\0'), "\nbailian-fcgi-journal 1 00000000\n",
           "\nday 20784 * 1 2 3 4 5 6 00000000\n", "\nday 20784 * 1 2 3 4 5 6\n"}) {
    const bool is_start = journal_start().starts_with(text);
    EXPECT_EQ(parse_journal(text).kind, is_start ? Kind::kJournal : Kind::kForeign) << text;
  }
}

TEST(Journals, OfANewerVersionAreNotRead) {
  EXPECT_EQ(parse_journal("\nbailian-fcgi-journal 2 5f6318e2\n").kind, Kind::kNewer);
  EXPECT_EQ(parse_journal(journal_start() + "\nbailian-fcgi-journal 18446744073709551615 00000000\n").kind,
            Kind::kJournal)
      << "its checksum is wrong";
}

TEST(Journals, GrowOnlyByWhatHasGrown) {
  const LedgerFolder folder;
  Journal journal(folder.journal());
  journal.write(contents_of(100));
  const std::string before = content(folder.journal());
  journal.write(contents_of(100));
  journal.write(contents_of(50));
  EXPECT_EQ(content(folder.journal()), before);
  JournalContents grown = contents_of(100);
  ++grown.totals[{kToday, "shop"}].cached;
  journal.write(grown);
  const std::string added = content(folder.journal()).substr(before.size());
  EXPECT_EQ(added.find("default"), added.npos);
  EXPECT_NE(added.find("shop"), added.rfind("shop")) << "it is written twice";
}

TEST(Journals, AreWrittenAnewWhenTheyAreLong) {
  const LedgerFolder folder;
  {
    Journal journal(folder.journal());
    journal.write(contents_of(7, kToday - 200));
    for (uint64_t n = 1; n < 90; ++n) {
      JournalContents contents = contents_of(1000 * n, kToday - static_cast<Day>(n % 3));
      for (int bot = 0; bot < 200; ++bot)
        contents.totals[{contents.day, "bot-" + std::to_string(bot)}] = totals_of(n);
      journal.write(contents);
    }
  }
  EXPECT_LT(std::filesystem::file_size(folder.journal()), 1u << 20);
  const ParsedJournal parsed = Journal::read(folder.journal());
  EXPECT_EQ(parsed.faulty_lines, 0u);
  EXPECT_TRUE(is_no_less(parsed.contents.totals, contents_of(89'000, kToday - 2).totals));
  EXPECT_TRUE(is_no_less(parsed.contents.totals, contents_of(88'000, kToday - 1).totals));
  EXPECT_FALSE(parsed.contents.totals.contains({kToday - 200, "shop"})) << "nobody asks for it any more";
  EXPECT_FALSE(std::filesystem::exists(folder.journal() + ".new"));
}

TEST(Journals, GoOnAfterALineThatWasCut) {
  const ThreeBatches batches;
  std::ofstream(batches.folder.journal(), std::ios::app) << "\nday 20784 sh";
  Journal journal(batches.folder.journal());
  journal.write(contents_of(400));
  const ParsedJournal parsed = Journal::read(batches.folder.journal());
  EXPECT_EQ(parsed.contents.totals, contents_of(400).totals);
  EXPECT_EQ(parsed.faulty_lines, 1u);
}

TEST(Journals, TakeNoLessThanTheySaidBefore) {
  const ThreeBatches batches;
  Journal journal(batches.folder.journal());  // of another process, with a table that was lost
  journal.write(contents_of(10));
  EXPECT_EQ(Journal::read(batches.folder.journal()).contents.totals, contents_of(350).totals);
}

}  // namespace
}  // namespace bailian
