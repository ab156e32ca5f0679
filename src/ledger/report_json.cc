#include "ledger/report_json.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

void write_key(JsonWriter& writer, std::string_view key) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
}

void write_number(JsonWriter& writer, std::string_view key, uint64_t number) {
  write_key(writer, key);
  writer.Uint64(number);
}

void write_number(JsonWriter& writer, std::string_view key, std::optional<uint64_t> number) {
  write_key(writer, key);
  number ? writer.Uint64(*number) : writer.Null();
}

void write_flag(JsonWriter& writer, std::string_view key, bool value) {
  write_key(writer, key);
  writer.Bool(value);
}

// The members of an object that has begun.
void write_spent(JsonWriter& writer, const Spent& spent) {
  write_number(writer, "input_tokens", spent.input_tokens);
  write_number(writer, "output_tokens", spent.output_tokens);
  write_number(writer, "estimated_tokens", spent.estimated_tokens);
  write_number(writer, "answers", spent.answers);
  write_number(writer, "cached", spent.cached);
  write_number(writer, "refused", spent.refused);
  if (!spent.money) return;
  write_key(writer, "money");
  const std::string number = fmt::format("{:.6f}", *spent.money);
  writer.RawValue(number.data(), number.size(), rapidjson::kNumberType);
}

// A visitor's cap has no figures: each visitor has his own.
void write_cap(JsonWriter& writer, const CapState& cap) {
  writer.StartObject();
  write_member(writer, "scope", cap.scope);
  write_member(writer, "period", cap.period);
  write_number(writer, "limit", cap.limit);
  if (cap.scope != "visitor") {
    write_number(writer, "used", cap.used);
    write_number(writer, "leased", cap.leased);
    write_number(writer, "left", cap.left());
  }
  write_flag(writer, "has_refused", cap.has_refused);
  writer.EndObject();
}

void write_bot(JsonWriter& writer, const BotReport& bot) {
  writer.StartObject();
  if (!bot.bot.empty()) write_member(writer, "name", bot.bot);
  write_flag(writer, "paused", bot.is_paused);
  write_member(writer, "pause_message", printable(bot.pause_message));
  write_number(writer, "open_leases", bot.open_leases);
  write_key(writer, "caps");
  writer.StartArray();
  for (const CapState& cap : bot.caps) write_cap(writer, cap);
  writer.EndArray();
  write_key(writer, "month");
  writer.StartObject();
  write_spent(writer, bot.month);
  writer.EndObject();
  write_key(writer, "days");
  writer.StartArray();
  for (const DaySpent& day : bot.days) {
    writer.StartObject();
    write_member(writer, "date", day.date);
    write_spent(writer, day.spent);
    writer.EndObject();
  }
  writer.EndArray();
  writer.EndObject();
}

}  // namespace

std::string report_json(const LedgerReport& report) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "storage", report.storage);
  write_member(writer, "fault", report.fault);
  write_member(writer, "timezone", report.timezone);
  write_member(writer, "day", report.day);
  write_member(writer, "month", report.month);
  for (const BotReport& bot : report.bots) {
    if (!bot.bot.empty()) continue;
    write_key(writer, "total");
    write_bot(writer, bot);
  }
  write_key(writer, "bots");
  writer.StartArray();
  for (const BotReport& bot : report.bots) {
    if (!bot.bot.empty()) write_bot(writer, bot);
  }
  writer.EndArray();
  writer.EndObject();
  return std::string(written(buffer));
}

}  // namespace bailian
