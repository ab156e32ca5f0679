#include "ledger/journal_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <iterator>
#include <optional>

#include "base/text.h"
#include "settings/bots.h"

namespace bailian {
namespace {

constexpr std::string_view kMark = "bailian-fcgi-journal";
constexpr uint64_t kVersion = 1;
constexpr std::string_view kAll = "*";  // not a bot's name
constexpr uint64_t kMaxDay = 0xffffff;
constexpr uint64_t kMaxTokens = uint64_t{1} << 56;

// CRC-32C (Castagnoli).
constexpr auto kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    table[i] = crc;
  }
  return table;
}();

uint32_t checksum(std::string_view text) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : text) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::string line(std::string_view payload) {
  return fmt::format("\n{} {:08x}\n", payload, checksum(payload));
}

// The words of a line whose checksum is right; nothing if it is not.
class Words {
 public:
  static std::optional<Words> of(std::string_view text) {
    const size_t space = text.rfind(' ');
    if (space == text.npos) return std::nullopt;
    const std::string_view payload = text.substr(0, space);
    if (text.substr(space + 1) != fmt::format("{:08x}", checksum(payload))) return std::nullopt;
    return Words(payload);
  }

  std::string_view word() { return split_off(rest_, ' '); }
  uint64_t number(uint64_t max) {
    const std::string_view text = word();
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value > max) is_good_ = false;
    return value;
  }
  [[nodiscard]] bool is_good() const { return is_good_; }

 private:
  explicit Words(std::string_view payload) : rest_(payload) {}
  std::string_view rest_;
  bool is_good_ = true;
};

// False: it says nothing that this version knows.
bool read_line(Words words, ParsedJournal& parsed) {
  const std::string_view kind = words.word();
  if (kind == kMark) {
    if (words.number(UINT64_MAX) > kVersion) parsed.kind = ParsedJournal::Kind::kNewer;
    return words.is_good();
  }
  if (kind == "period") {
    const auto day = static_cast<int64_t>(words.number(kMaxDay));
    const auto ends = static_cast<int64_t>(words.number(kMaxTokens));
    if (!words.is_good()) return false;
    parsed.contents.day = day;
    parsed.contents.day_ends = ends;
    return true;
  }
  if (kind != "day") return false;
  const Day day = static_cast<Day>(words.number(kMaxDay));
  const std::string_view name = words.word();
  DayTotals totals;
  for (uint64_t* const number :
       {&totals.input, &totals.output, &totals.estimated, &totals.answers, &totals.cached, &totals.refused}) {
    *number = words.number(kMaxTokens);
  }
  if (!words.is_good() || day == 0 || !(name == kAll || is_bot_name(name))) return false;
  parsed.contents.totals[{day, name == kAll ? std::string() : std::string(name)}].raise_to(totals);
  return true;
}

}  // namespace

void DayTotals::raise_to(const DayTotals& other) {
  input = std::max(input, other.input);
  output = std::max(output, other.output);
  estimated = std::max(estimated, other.estimated);
  answers = std::max(answers, other.answers);
  cached = std::max(cached, other.cached);
  refused = std::max(refused, other.refused);
}

std::string journal_start() {
  const std::string start = line(fmt::format("{} {}", kMark, kVersion));
  return start + start;
}

std::string journal_lines(const JournalContents& contents) {
  std::string text;
  if (contents.day > 0) text += line(fmt::format("period {} {}", contents.day, contents.day_ends));
  for (const auto& [key, totals] : contents.totals) {
    const std::string_view name = key.second.empty() ? kAll : std::string_view(key.second);
    text += line(fmt::format("day {} {} {} {} {} {} {} {}", key.first, name, totals.input, totals.output,
                             totals.estimated, totals.answers, totals.cached, totals.refused));
  }
  return text;
}

ParsedJournal parse_journal(std::string_view text) {
  ParsedJournal parsed;
  const std::string start = journal_start();
  const bool is_cut_start = std::string_view(start).starts_with(text);  // also when it is empty
  size_t good_lines = 0;
  while (!text.empty()) {
    const std::string_view raw = split_off(text, '\n');
    if (raw.empty()) continue;
    const auto words = Words::of(raw);
    if (words && read_line(*words, parsed)) {
      ++good_lines;
    } else {
      ++parsed.faulty_lines;
    }
  }
  if (good_lines == 0 && !is_cut_start) parsed.kind = ParsedJournal::Kind::kForeign;
  return parsed;
}

}  // namespace bailian
