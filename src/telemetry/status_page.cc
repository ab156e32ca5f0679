#include "telemetry/status_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

struct PhaseRow {
  ChatPhase value;
  std::string_view word;
};
constexpr std::array kPhases = {
    PhaseRow{ChatPhase::kWaiting, "waiting"},      PhaseRow{ChatPhase::kOpen, "waiting"},
    PhaseRow{ChatPhase::kStreaming, "streaming"},  PhaseRow{ChatPhase::kPaused, "paused"},
    PhaseRow{ChatPhase::kCollecting, "streaming"}, PhaseRow{ChatPhase::kFinished, "finishing"},
};
static_assert(has_a_row_for_each(kPhases, static_cast<size_t>(ChatPhase::kFinished) + 1));
// Numbers are aligned to the right.
constexpr const char* kRow = "{:>6} {:>9} {:<9} {:<6} {:>8} {:>11} {:>11} {:>11} {:>9} {:<9} {}\n";
constexpr const char* kBotRow = "{:<32} {:>7} {:>7} {}\n";
constexpr const char* kTargetRow = "{:<32} {:>6} {:<13} {:<32} {}\n";

std::string seconds_text(const std::optional<Clock::duration>& duration, const char* if_none = "-") {
  return duration ? fmt::format("{:.3f}", Seconds(*duration).count()) : if_none;
}

std::string_view word_of(ChatPhase phase) { return kPhases.at(static_cast<size_t>(phase)).word; }
std::string_view mode_name(AnswerMode mode) { return mode == AnswerMode::kStream ? "stream" : "json"; }

std::string_view shown_application(std::string_view id) { return id.empty() ? "not configured" : id; }

std::string text_row(const StatusTarget& target) {
  const std::string state = target.rests_for > 0 ? fmt::format("{} {} s", target.state, target.rests_for)
                                                 : std::string(target.state);
  return fmt::format(kTargetRow, target.bot, target.number, state, shown_application(target.application),
                     target.host);
}

std::string text_row(const ChatView& chat) {
  return fmt::format(kRow, chat.worker, seconds_text(chat.age), word_of(chat.phase), mode_name(chat.mode),
                     chat.tokens, chat.sent_bytes, chat.waiting_bytes, seconds_text(chat.first_token),
                     seconds_text(chat.silence), chat.bot, chat.request_id);
}

void write_seconds(JsonWriter& writer, std::string_view key, const std::optional<Clock::duration>& duration) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  const std::string number = seconds_text(duration, "null");
  writer.RawValue(number.data(), number.size(), rapidjson::kNumberType);
}

void write_number(JsonWriter& writer, std::string_view key, uint64_t number) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  writer.Uint64(number);
}

std::string json_row(const ChatView& chat) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "request_id", chat.request_id);
  write_number(writer, "worker", chat.worker);
  write_seconds(writer, "age", chat.age);
  write_member(writer, "state", word_of(chat.phase));
  write_member(writer, "mode", mode_name(chat.mode));
  write_member(writer, "bot", chat.bot);
  write_number(writer, "tokens", chat.tokens);
  write_number(writer, "sent_bytes", chat.sent_bytes);
  write_number(writer, "waiting_bytes", chat.waiting_bytes);
  write_seconds(writer, "first_token", chat.first_token);
  write_seconds(writer, "silent", chat.silence);
  writer.EndObject();
  return std::string(written(buffer));
}

void write_targets(JsonWriter& writer, const std::vector<StatusTarget>& targets) {
  writer.Key("targets");
  writer.StartArray();
  for (const StatusTarget& target : targets) {
    writer.StartObject();
    write_member(writer, "bot", target.bot);
    write_number(writer, "target", static_cast<uint64_t>(target.number));
    write_member(writer, "state", target.state);
    write_number(writer, "rests_for", target.rests_for);
    write_member(writer, "application", target.application);
    write_member(writer, "host", target.host);
    writer.EndObject();
  }
  writer.EndArray();
}

// Without the closing brace: the streams may follow.
std::string json_start(const StatusOverview& overview) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  for (const auto& [name, value] : overview.figures) {
    std::string key(name);
    std::replace(key.begin(), key.end(), ' ', '_');
    if (const auto* number = std::get_if<uint64_t>(&value)) {
      write_number(writer, key, *number);
    } else {
      write_member(writer, key, std::get<std::string_view>(value));
    }
  }
  writer.Key("bots");
  writer.StartArray();
  for (const StatusBot& bot : overview.bots) {
    writer.StartObject();
    write_member(writer, "name", bot.name);
    write_member(writer, "application", bot.application);
    write_number(writer, "active_streams", bot.streams);
    write_number(writer, "max_streams", bot.limit);
    writer.EndObject();
  }
  writer.EndArray();
  if (!overview.targets.empty()) write_targets(writer, overview.targets);
  std::string start(written(buffer));
  if (!overview.ledger.empty()) start += R"(,"ledger":)" + overview.ledger;
  return start;
}

}  // namespace

StatusQuery parse_status_query(std::string_view query) {
  StatusQuery asked;
  while (!query.empty()) {
    std::string_view item = split_off(query, '&');
    const std::string_view name = split_off(item, '=');
    if (name == "json") asked.json = true;
    if (name == "full") asked.full = true;
  }
  return asked;
}

void StatusWriter::start(const StatusOverview& overview) {
  if (query_.json) {
    page_ = json_start(overview);
    if (query_.full) page_ += R"(,"streams":[)";
    return;
  }
  for (const auto& [name, value] : overview.figures) {
    page_ += fmt::format("{:<22}", std::string(name) + ':');
    std::visit([this](const auto& shown) { page_ += fmt::format("{}\n", shown); }, value);
  }
  if (overview.bots.size() > 1) {
    page_ += '\n';
    page_ += fmt::format(kBotRow, "bot", "streams", "limit", "application");
    for (const StatusBot& bot : overview.bots) {
      page_ += fmt::format(kBotRow, bot.name, bot.streams, bot.limit > 0 ? std::to_string(bot.limit) : "-",
                           shown_application(bot.application));
    }
  }
  if (!overview.targets.empty()) {
    page_ += '\n';
    page_ += fmt::format(kTargetRow, "bot", "target", "state", "application", "host");
    for (const StatusTarget& target : overview.targets) page_ += text_row(target);
  }
  if (!overview.ledger.empty()) page_ += '\n' + overview.ledger;
  if (query_.full) {
    page_ += '\n';
    page_ += fmt::format(kRow, "worker", "age", "state", "mode", "tokens", "sent", "waiting", "first token",
                         "silent", "bot", "request id");
  }
}

void StatusWriter::add(const ChatView& chat) {
  if (!query_.json) {
    page_ += text_row(chat);
    return;
  }
  if (has_rows_) page_ += ',';
  page_ += json_row(chat);
  has_rows_ = true;
}

std::string StatusWriter::finish() {
  if (query_.json) page_ += query_.full ? "]}\n" : "}\n";
  return std::move(page_);
}

}  // namespace bailian
