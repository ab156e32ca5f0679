#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace bailian {

/// One server-sent event, valid until the parser is used again. `data` is the parser's own buffer, which the
/// caller may parse in place.
struct SseEvent {
  std::string_view name;  // empty when the stream has none
  int http_status = 0;    // DashScope's `:HTTP_STATUS/n` comment; 0 when there was none
  std::string& data;
};

/// Splits a stream of server-sent events that arrives in pieces cut anywhere:
///     parser.feed(bytes);
///     while (auto event = parser.next()) use(*event);
/// LF, CR and CRLF end lines. Byte order marks before a line are skipped (WHATWG HTML, 9.2.6, allows one, at
/// the start). DashScope's status comment inside an event is understood. A line without data that is longer
/// than kMaxOtherBytes is skipped as it arrives, so a comment of any length needs no memory.
class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = size_t{1} << 20;
  static constexpr size_t kMaxOtherBytes = 128;

  /// Takes the next bytes of the stream, which must live until next() returns nothing. Nothing may be left of
  /// those before.
  void feed(std::string_view bytes);
  /// The stream has ended: next() also returns an event that lacks only its blank line.
  void finish() { feed("\n\n"); }

  /// The next complete event, or nothing when there is none yet or the stream is_refused().
  std::optional<SseEvent> next();

  /// A line of data or an event was longer than kMaxEventBytes; there are no more events.
  [[nodiscard]] bool is_refused() const { return is_refused_; }

 private:
  void keep_unfinished(std::string_view bytes);
  bool ends_event(std::string_view line);
  void take_field(std::string_view line, size_t line_bytes);
  void take_data(std::string_view value);
  void refuse();
  void clear_event();

  std::string_view unread_;
  std::string line_;       // the unfinished line
  bool skipping_ = false;  // the rest of it is ignored
  bool after_cr_ = false;
  bool is_refused_ = false;
  bool has_data_ = false;
  bool is_complete_ = false;  // the event was returned
  int http_status_ = 0;
  std::string name_;
  std::string data_;
};

}  // namespace bailian
