#include "commands/top_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/json.h"

namespace bailian {
namespace {

constexpr const char* kCapRow = "{:<32} {:<6} {:>12} {:>12} {:>9} {:>6}{}";
constexpr const char* kTargetRow = "{:<32} {:>6} {:<13} {:<32} {}";

// Any program may answer on the socket: none of its bytes may control the terminal.
std::string printable(std::string_view text) {
  constexpr size_t kMaxBytes = 200;
  std::string out(text.substr(0, kMaxBytes));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

std::string text_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = find_member(object, name);
  return value != nullptr && value->IsString() ? std::string(as_view(*value)) : "";
}

uint64_t number_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = find_member(object, name);
  return value != nullptr && value->IsUint64() ? value->GetUint64() : 0;
}

std::optional<double> seconds_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = find_member(object, name);
  if (value == nullptr || !value->IsNumber()) return std::nullopt;
  return value->GetDouble();
}

TopSample::Stream stream_of(const JsonValue& row) {
  TopSample::Stream stream;
  stream.request_id = text_of(row, "request_id");
  stream.state = text_of(row, "state");
  stream.mode = text_of(row, "mode");
  stream.bot = text_of(row, "bot");
  stream.age = seconds_of(row, "age").value_or(0);
  stream.first_token = seconds_of(row, "first_token");
  stream.silent = seconds_of(row, "silent");
  stream.worker = number_of(row, "worker");
  stream.tokens = number_of(row, "tokens");
  stream.sent_bytes = number_of(row, "sent_bytes");
  stream.waiting_bytes = number_of(row, "waiting_bytes");
  return stream;
}

TopSample::Target target_of(const JsonValue& row) {
  TopSample::Target target;
  target.bot = text_of(row, "bot");
  target.state = text_of(row, "state");
  target.application = text_of(row, "application");
  target.host = text_of(row, "host");
  target.number = number_of(row, "target");
  target.rests_for = number_of(row, "rests_for");
  return target;
}

bool is_true(const JsonValue& object, std::string_view name) {
  const JsonValue* value = find_member(object, name);
  return value != nullptr && value->IsBool() && value->GetBool();
}

void add_bot_of_ledger(TopSample& sample, const JsonValue& bot) {
  const std::string name = text_of(bot, "name");
  if (is_true(bot, "paused")) sample.paused.push_back(name);
  const JsonValue* caps = find_member(bot, "caps");
  if (caps == nullptr || !caps->IsArray()) return;
  for (const JsonValue& row : caps->GetArray()) {
    const JsonValue* limit = find_member(row, "limit");
    if (limit == nullptr || !limit->IsUint64() || text_of(row, "scope") == "visitor") continue;
    sample.caps.push_back({name, text_of(row, "period"), limit->GetUint64(), number_of(row, "used"),
                           number_of(row, "leased"), is_true(row, "has_refused")});
  }
}

void add_ledger(TopSample& sample, const JsonValue& ledger) {
  sample.ledger_fault = text_of(ledger, "fault");
  if (const JsonValue* total = find_member(ledger, "total")) add_bot_of_ledger(sample, *total);
  const JsonValue* bots = find_member(ledger, "bots");
  if (bots == nullptr || !bots->IsArray()) return;
  for (const JsonValue& bot : bots->GetArray()) add_bot_of_ledger(sample, bot);
}

std::string duration_text(uint64_t seconds) {
  const uint64_t days = seconds / 86400;
  const std::string time =
      fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
  return days > 0 ? fmt::format("{}d {}", days, time) : time;
}

std::string seconds_text(const std::optional<double>& seconds) {
  constexpr double kMax = 1e9;
  if (!seconds) return "-";
  return fmt::format("{:.1f}", std::clamp(*seconds, 0.0, kMax));
}

// The rate at which a number has grown in `seconds`; 0: they are unknown.
std::string rate_text(double seconds, uint64_t before, uint64_t now) {
  if (seconds <= 0) return "-/s";
  const double grown = now > before ? static_cast<double>(now - before) : 0;
  return fmt::format("{:.1f}/s", grown / seconds);
}

// The program's sum does not include the tokens of live chats yet.
uint64_t tokens_so_far(const TopSample& sample) {
  uint64_t sum = sample.number("output_tokens");
  for (const auto& stream : sample.streams) sum += stream.tokens;
  return sum;
}

uint64_t in_state(const TopSample& sample, std::string_view state) {
  return static_cast<uint64_t>(std::count_if(sample.streams.begin(), sample.streams.end(),
                                             [&](const auto& stream) { return stream.state == state; }));
}

// At most `most` of them, the oldest first.
std::vector<const TopSample::Stream*> oldest_streams(const TopSample& sample, size_t most) {
  std::vector<const TopSample::Stream*> streams;
  streams.reserve(sample.streams.size());
  for (const auto& stream : sample.streams) streams.push_back(&stream);
  const size_t shown = std::min(streams.size(), most);
  std::partial_sort(streams.begin(), streams.begin() + static_cast<ptrdiff_t>(shown), streams.end(),
                    [](const auto* a, const auto* b) { return a->age > b->age; });
  streams.resize(shown);
  return streams;
}

// At most `most` of them, first those that are not well.
std::vector<const TopSample::Target*> worst_targets(const TopSample& sample, size_t most) {
  std::vector<const TopSample::Target*> targets;
  targets.reserve(sample.targets.size());
  for (const auto& target : sample.targets) targets.push_back(&target);
  std::stable_partition(targets.begin(), targets.end(),
                        [](const auto* target) { return target->state != "well"; });
  targets.resize(std::min(targets.size(), most));
  return targets;
}

std::string bot_text(const std::string& name) { return name.empty() ? "all bots" : printable(name); }

// At most `most` of them, first those of which most is used.
std::vector<std::string> cap_lines(std::vector<TopSample::Cap> caps, size_t most) {
  std::ranges::stable_sort(caps, std::greater(), &TopSample::Cap::part);
  caps.resize(std::min(caps.size(), most));
  std::vector<std::string> lines;
  for (const TopSample::Cap& cap : caps) {
    const bool is_used_up = cap.has_refused || cap.used >= cap.limit;
    lines.push_back(fmt::format(kCapRow, bot_text(cap.bot), printable(cap.period), cap.limit, cap.used,
                                cap.leased, fmt::format("{:.0f} %", 100 * cap.part()),
                                is_used_up ? " used up" : ""));
  }
  return lines;
}

std::string paused_line(const std::vector<std::string>& paused) {
  std::string line = "paused    ";
  for (const std::string& bot : paused) line += (&bot == &paused.front() ? "" : ", ") + bot_text(bot);
  return line;
}

std::string target_line(const TopSample::Target& target) {
  std::string state = printable(target.state);
  if (target.rests_for > 0) state += fmt::format(" {} s", target.rests_for);
  return fmt::format(kTargetRow, printable(target.bot), target.number, state,
                     target.application.empty() ? "not configured" : printable(target.application),
                     printable(target.host));
}

}  // namespace

std::optional<TopSample> parse_top_sample(std::string_view json, Clock::time_point taken) {
  JsonDocument page;
  if (parse_json(json, page) || text_of(page, "program") != "bailian-fcgi") return std::nullopt;
  TopSample sample;
  sample.taken = taken;
  sample.version = text_of(page, "version");
  sample.state = text_of(page, "state");
  sample.listening = text_of(page, "listening");
  for (const auto& [name, value] : page.GetObject())
    if (value.IsUint64()) sample.numbers.insert_or_assign(std::string(as_view(name)), value.GetUint64());
  const JsonValue* targets = find_member(page, "targets");
  if (targets != nullptr && targets->IsArray()) {
    for (const JsonValue& row : targets->GetArray()) sample.targets.push_back(target_of(row));
  }
  if (const JsonValue* ledger = find_member(page, "ledger")) add_ledger(sample, *ledger);
  const JsonValue* streams = find_member(page, "streams");
  if (streams != nullptr && streams->IsArray()) {
    for (const JsonValue& row : streams->GetArray()) sample.streams.push_back(stream_of(row));
  }
  return sample;
}

std::vector<std::string> top_frame(const TopSample& now, const TopSample* before, ScreenSize size) {
  const TopSample nothing;
  const TopSample& then = before != nullptr ? *before : nothing;
  const bool is_same_process = then.number("pid") == now.number("pid");
  const double passed = before != nullptr && is_same_process ? Seconds(now.taken - then.taken).count() : 0;
  const auto number = [&now](std::string_view name) { return now.number(name); };
  const auto rate = [&](std::string_view name) {
    return rate_text(passed, then.number(name), now.number(name));
  };
  std::vector<std::string> lines = {
      fmt::format("bailian-fcgi {}  pid {}  up {}  {}  {}", printable(now.version), number("pid"),
                  duration_text(number("uptime")), printable(now.state), printable(now.listening)),
      fmt::format("streams   {} active, {} at most so far, {} allowed, {} workers", number("active_streams"),
                  number("max_active_streams"), number("max_streams"), number("workers")),
      fmt::format("          {} waiting, {} streaming, {} paused, {} finishing", in_state(now, "waiting"),
                  in_state(now, "streaming"), in_state(now, "paused"), in_state(now, "finishing")),
      fmt::format("requests  {} ({}): {} done, {} error, {} timeout, {} client gone, {} rejected",
                  number("requests"), rate("requests"), number("requests_done"), number("requests_error"),
                  number("requests_timeout"), number("requests_client_gone"), number("requests_rejected")),
      fmt::format("tokens    {} out ({}), {} in ({})", tokens_so_far(now),
                  rate_text(passed, tokens_so_far(then), tokens_so_far(now)), number("input_tokens"),
                  rate("input_tokens")),
      fmt::format("upstream  {} errors, {} retries", number("upstream_errors"), number("retries"))};
  if (!now.ledger_fault.empty()) lines.push_back("ledger    " + printable(now.ledger_fault));
  if (!now.paused.empty()) lines.push_back(paused_line(now.paused));
  const auto room = [&] { return size.rows - std::min(size.rows, lines.size()); };
  if (!now.caps.empty()) {
    lines.insert(lines.end(),
                 {"", fmt::format(kCapRow, "cap of", "period", "limit", "used", "leased", "of it", "")});
    for (std::string& line : cap_lines(now.caps, room() / 4)) lines.push_back(std::move(line));
  }
  if (!now.targets.empty()) {
    lines.insert(lines.end(), {"", fmt::format(kTargetRow, "bot", "target", "state", "application", "host")});
    // The rest of the screen is for streams.
    for (const auto* target : worst_targets(now, room() / 2)) lines.push_back(target_line(*target));
  }
  lines.insert(lines.end(),
               {"", fmt::format("{:>8} {:<9} {:<6} {:>8} {:>10} {:>9} {:>7} {:>7} {:>6} {:<32} {}", "age",
                                "state", "mode", "tokens", "sent", "waiting", "first", "silent", "worker",
                                "request id", "bot")});

  for (const auto* stream : oldest_streams(now, room())) {
    lines.push_back(fmt::format("{:>8} {:<9} {:<6} {:>8} {:>10} {:>9} {:>7} {:>7} {:>6} {:<32} {}",
                                seconds_text(stream->age), printable(stream->state), printable(stream->mode),
                                stream->tokens, stream->sent_bytes, stream->waiting_bytes,
                                seconds_text(stream->first_token), seconds_text(stream->silent),
                                stream->worker, printable(stream->request_id), printable(stream->bot)));
  }
  if (lines.size() > size.rows) lines.resize(size.rows);
  for (std::string& line : lines) line.resize(std::min(line.size(), size.columns));
  return lines;
}

}  // namespace bailian
