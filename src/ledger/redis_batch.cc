#include "ledger/redis_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <random>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

constexpr std::string_view kFormatVersion = "1";
constexpr uint64_t kMaxExact = uint64_t{1} << 52;  // Lua's numbers are exact up to here
constexpr size_t kReplyHead = 7;
constexpr size_t kWordsOfTotals = 26;

template <typename Number>
std::optional<Number> whole_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

class Words {
 public:
  void add(std::string_view word) { words_.emplace_back(word); }
  void add(const std::string& word) { words_.push_back(word); }
  void add(const char* word) { words_.emplace_back(word); }
  void add(bool yes) { words_.emplace_back(yes ? "1" : "0"); }
  void add(uint64_t number) { words_.push_back(std::to_string(std::min(number, kMaxExact))); }
  void add(int64_t number) {
    const auto most = static_cast<int64_t>(kMaxExact);
    words_.push_back(std::to_string(std::clamp(number, -most, most)));
  }
  void add_date(Day day) { words_.push_back(compact_date(day)); }
  void add_bot(std::string_view bot) { words_.push_back(escape_bot(bot)); }
  void add_cap(uint64_t cap) { cap == kNoCap ? add("-1") : add(cap); }
  std::vector<std::string>& all() { return words_; }

 private:
  std::vector<std::string> words_;
};

void add_batch(Words& words, const RedisBatch& batch, const std::vector<RedisBatch::Memory>* memory) {
  words.add(uint64_t{memory != nullptr ? memory->size() : 0});
  if (memory != nullptr) {
    for (const auto& one : *memory) {
      for (const std::string* word : {&one.key, &one.field, &one.value}) words.add(*word);
    }
  }
  words.add(uint64_t{batch.counts.size()});
  for (const auto& count : batch.counts) {
    words.add_date(count.day);
    words.add_bot(count.bot);
    for (const int64_t number : {count.committed, count.input, count.output, count.estimated, count.answers,
                                 count.cached, count.refused})
      words.add(number);
  }
  words.add(uint64_t{batch.visitors.size()});
  for (const auto& count : batch.visitors) {
    words.add_date(count.day);
    words.add(count.visitor);
    words.add(count.committed);
  }
  words.add(uint64_t{batch.open.size()});
  for (const auto& open : batch.open) {
    words.add_date(open.day);
    words.add_bot(open.bot);
    words.add(open.tokens);
    words.add(open.leases);
  }
  words.add(uint64_t{batch.inputs.size()});
  for (const auto& input : batch.inputs) {
    words.add_bot(input.bot);
    words.add(input.tokens);
  }
  words.add(uint64_t{batch.orders.size()});
  for (const auto& order : batch.orders) {
    words.add(order.what);
    words.add_bot(order.bot);
    words.add(order.a);
    words.add(order.b);
  }
  words.add(uint64_t{batch.leases.size()});
  for (const auto& lease : batch.leases) {
    words.add(lease.is_extension ? "extension" : "lease");
    words.add_date(lease.day);
    words.add_bot(lease.bot);
    words.add(lease.visitor);
    for (const uint64_t number : {lease.input, lease.slice, lease.left, lease.missing}) words.add(number);
    for (const uint64_t cap : {lease.caps.bot_day, lease.caps.bot_month, lease.caps.visitor_day,
                               lease.caps.total_day, lease.caps.total_month})
      words.add_cap(cap);
  }
}

// Takes the items of a reply one after the other; remembers if one is not what it must be.
class Items {
 public:
  explicit Items(const RedisReply& reply) : items_(reply.items) {}
  std::string text() {
    const RedisReply* item = next();
    if (item == nullptr || item->kind != RedisReply::Kind::kText) return fail(std::string());
    return item->text;
  }
  uint64_t number() {
    const RedisReply* item = next();
    const auto number = item != nullptr ? number_in(*item) : std::nullopt;
    return number && *number <= kMaxExact ? *number : fail(uint64_t{0});
  }
  Day date() {
    const std::string digits = text();
    if (digits == "0") return 0;
    const auto day = parse_compact_date(digits);
    return day ? *day : fail(Day{0});
  }
  [[nodiscard]] bool has_failed() const { return has_failed_; }

 private:
  const RedisReply* next() { return at_ < items_.size() ? &items_[at_++] : nullptr; }
  template <typename Value>
  Value fail(Value value) {
    has_failed_ = true;
    return value;
  }
  const std::vector<RedisReply>& items_;
  size_t at_ = 0;
  bool has_failed_ = false;
};

RedisTotals::Period take_period(Items& items) {
  RedisTotals::Period period;
  period.committed = items.number();
  period.spent.input_tokens = items.number();
  period.spent.output_tokens = items.number();
  period.spent.estimated_tokens = items.number();
  period.spent.answers = items.number();
  period.spent.cached = items.number();
  period.spent.refused = items.number();
  period.alerted_percent = static_cast<int>(std::min<uint64_t>(items.number(), 100));
  period.has_refused = items.number() != 0;
  period.has_refused_visitor = items.number() != 0;
  return period;
}

RedisTotals take_totals(Items& items) {
  RedisTotals totals;
  totals.day = take_period(items);
  totals.month = take_period(items);
  totals.day.leased = items.number();
  totals.month.leased = items.number();
  totals.open_leases = items.number();
  totals.added_input = whole_number<uint64_t>(items.text());
  const std::string pause = items.text();
  totals.is_paused_at_once = pause == "2";
  totals.is_paused = pause == "1" || pause == "2";
  totals.pause_message = items.text();
  return totals;
}

// "1,-2,4096". False: not so many numbers.
bool parse_grants(std::string_view text, size_t count, std::vector<int64_t>& grants) {
  for (size_t i = 0; i < count; ++i) {
    const auto number = whole_number<int64_t>(split_off(text, ','));
    if (!number || *number > static_cast<int64_t>(kMaxExact) ||
        *number < -static_cast<int64_t>(RedisRefusal::kPaused))
      return false;
    grants.push_back(*number);
  }
  return text.empty();
}

}  // namespace

std::string compact_date(Day day) {
  std::string text = date_text(day);
  std::erase(text, '-');
  return text;
}

std::optional<Day> parse_compact_date(std::string_view text) {
  const auto number = whole_number<unsigned>(text);
  if (!number || text.size() != 8) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*number / 10000)),
                                         std::chrono::month(*number / 100 % 100),
                                         std::chrono::day(*number % 100)};
  if (!date.ok()) return std::nullopt;
  return static_cast<Day>(std::chrono::sys_days(date).time_since_epoch().count());
}

std::string escape_bot(std::string_view bot) {
  std::string escaped;
  for (const char c : bot) {
    if (is_alnum(c) || c == '-' || c == '_' || c == '.') {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

std::vector<std::string> redis_batch_words(const RedisHeader& header, const RedisBatch& batch,
                                           const std::vector<RedisBatch::Memory>* memory,
                                           const std::vector<std::string>& totals) {
  Words words;
  words.add(kFormatVersion);
  words.add(header.host);
  words.add(header.sequence);
  words.add(header.epoch);
  words.add_date(header.day);
  words.add(uint64_t(header.lease_time.count()));
  words.add(header.opened);
  words.add(header.new_visitor_key);
  words.add(header.new_epoch);
  words.add(!totals.empty());
  words.add(memory != nullptr);
  words.add(header.leaves);
  Words body;
  add_batch(body, batch, memory);
  words.add(uint64_t{body.all().size()});
  for (std::string& word : body.all()) words.all().push_back(std::move(word));
  if (!totals.empty()) words.add(uint64_t{totals.size()});
  for (const std::string& bot : totals) words.add_bot(bot);
  return std::move(words.all());
}

std::optional<RedisBatchReply> parse_redis_batch_reply(const RedisReply& reply, size_t orders, size_t leases,
                                                       size_t totals) {
  if (reply.kind != RedisReply::Kind::kArray) return std::nullopt;
  Items items(reply);
  RedisBatchReply result;
  const std::string status = items.text();
  result.time_ms = static_cast<int64_t>(items.number());
  result.epoch = items.text();
  result.day = items.date();
  result.opened = items.number();
  if (items.has_failed()) return std::nullopt;
  if (status == "lost" || status == "day") {
    result.status = status == "day" ? RedisBatchReply::Status::kOtherDay : RedisBatchReply::Status::kLost;
    return result;
  }
  if (status != "ok" || result.epoch.empty() || result.day == 0) return std::nullopt;
  if (reply.items.size() != kReplyHead + totals * kWordsOfTotals) return std::nullopt;
  result.visitor_key = items.text();
  std::vector<int64_t> grants;
  if (!parse_grants(items.text(), orders + leases, grants)) return std::nullopt;
  for (size_t i = 0; i < orders; ++i) result.orders.push_back(grants[i] != 0);
  result.grants.assign(grants.begin() + static_cast<std::ptrdiff_t>(orders), grants.end());
  for (size_t i = 0; i < totals; ++i) result.totals.push_back(take_totals(items));
  if (items.has_failed()) return std::nullopt;
  return result;
}

std::string random_hex(size_t words) {
  std::random_device random;
  std::string text;
  for (size_t i = 0; i < words; ++i) text += fmt::format("{:08x}", random());
  return text;
}

RedisRefusal redis_refusal(int64_t grant) {
  return grant < 0 ? static_cast<RedisRefusal>(-grant) : RedisRefusal::kNone;
}

Spent spent_in_hash(const RedisReply& hash, std::string_view escaped_bot) {
  Spent spent;
  for (size_t i = 0; i + 1 < hash.items.size(); i += 2) {
    const std::string_view field = hash.items[i].text;
    if (field.size() < 2 || field[1] != '|' || field.substr(2) != escaped_bot) continue;
    const uint64_t number = number_in(hash.items[i + 1]).value_or(0);
    switch (field[0]) {
      case 'i':
        spent.input_tokens = number;
        break;
      case 'o':
        spent.output_tokens = number;
        break;
      case 'e':
        spent.estimated_tokens = number;
        break;
      case 'a':
        spent.answers = number;
        break;
      case 'h':
        spent.cached = number;
        break;
      case 'r':
        spent.refused = number;
        break;
      default:
        break;
    }
  }
  return spent;
}

}  // namespace bailian
