#include "base/log_line.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/json.h"
#include "base/text.h"

namespace bailian {
namespace {

std::string number_text(double number) {
  const bool is_whole = std::floor(number) == number && std::abs(number) < 1e15;
  return is_whole ? fmt::format("{:.0f}", number) : fmt::format("{:.3f}", number);
}

std::string hex_bytes(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return out;
}

// Control characters could forge lines or move a terminal's cursor; `escape` makes the text for each. The
// characters of `others` are escaped with a backslash.
std::string escape_controls(std::string_view text, const auto& escape, std::string_view others = "") {
  std::string out;
  while (!text.empty()) {
    const size_t control = control_character_bytes(text);
    if (control == 0 && others.find(text.front()) != std::string_view::npos) out += '\\';
    out += control > 0 ? escape(text.substr(0, control)) : std::string(1, text.front());
    text.remove_prefix(std::max(control, size_t{1}));
  }
  return out;
}

// The code point of a control character, all of which are in the Basic Multilingual Plane.
unsigned decode(std::string_view utf8) {
  const auto byte = [utf8](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(utf8[i])); };
  if (utf8.size() == 1) return byte(0);
  if (utf8.size() == 2) return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
  return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
}

std::string json_escape(std::string_view control) { return fmt::format("\\u{:04x}", decode(control)); }

std::string as_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string out;
  for (const char byte : bytes)
    out += byte >= ' ' && byte <= '~' ? std::string(1, byte) : hex_bytes({&byte, 1});
  return out;
}

std::string quoted_if_needed(std::string_view text) {
  if (!text.empty() && text.find_first_of(" \"=\\") == std::string_view::npos)
    return escape_controls(text, hex_bytes);
  return fmt::format("\"{}\"", escape_controls(text, hex_bytes, "\"\\"));
}

std::string text_line(std::string_view time, LogLevel level, std::string_view event, std::string_view message,
                      const LogFields& fields) {
  std::string line = fmt::format("{} {:7} {}", time, name_of(level), event);
  if (!message.empty()) line += ": " + escape_controls(as_utf8(message), hex_bytes);
  for (const LogField& field : fields) {
    line += fmt::format(" {}={}", field.key,
                        field.is_number ? number_text(field.number) : quoted_if_needed(as_utf8(field.text)));
  }
  return line;
}

void write_field(JsonWriter& writer, const LogField& field) {
  if (!field.is_number) return write_member(writer, field.key, as_utf8(field.text));
  writer.Key(field.key.data(), static_cast<rapidjson::SizeType>(field.key.size()));
  const std::string number = number_text(field.number);
  writer.RawValue(number.data(), number.size(), rapidjson::kNumberType);
}

std::string json_line(std::string_view time, LogLevel level, std::string_view event, std::string_view message,
                      const LogFields& fields) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  write_member(writer, "time", time);
  write_member(writer, "level", name_of(level));
  write_member(writer, "event", event);
  if (!message.empty()) write_member(writer, "message", as_utf8(message));
  for (const LogField& field : fields) write_field(writer, field);
  writer.EndObject();
  // The writer escapes C0 only, but a terminal interprets more.
  constexpr std::string_view kFirstBytes = "\x7f\xc2\xd8\xe2";  // of the control characters beyond C0
  const std::string_view line = written(buffer);
  return line.find_first_of(kFirstBytes) == line.npos ? std::string(line)
                                                      : escape_controls(line, json_escape);
}

}  // namespace

std::string_view name_of(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
  static_assert(kNames.size() == static_cast<size_t>(LogLevel::kError) + 1);
  return kNames.at(static_cast<size_t>(level));
}

std::string now_rfc3339() {
  const auto now = std::chrono::system_clock::now();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), ms);
}

std::string format_log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view event,
                            std::string_view message, const LogFields& fields) {
  return format == LogFormat::kText ? text_line(time, level, event, message, fields)
                                    : json_line(time, level, event, message, fields);
}

}  // namespace bailian
