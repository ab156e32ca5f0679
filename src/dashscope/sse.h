#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace bailian {

/// One server-sent event. `data` is the parser's own buffer: the receiver may parse it in place, and must not
/// keep it.
struct SseEvent {
  std::string_view name;  // empty when the stream named none
  int http_status = 0;    // DashScope's `:HTTP_STATUS/n` comment; 0 when there was none
  std::string& data;
};

/// Takes a server-sent event stream apart as bytes come in, cut anywhere. LF, CR and CRLF end lines, byte
/// order marks before a line are skipped (WHATWG HTML, 9.2.6, knows one, at the start); DashScope's status
/// comment inside an event is understood. A line without data that is longer than kMaxOtherBytes is skipped
/// as it comes in, so that a comment of any length takes no memory.
class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = size_t{1} << 20;
  static constexpr size_t kMaxOtherBytes = 128;

  using OnEvent = std::function<void(SseEvent)>;

  explicit SseParser(OnEvent on_event) : on_event_(std::move(on_event)) {}

  /// False when a line of data or an event is longer than kMaxEventBytes; the parser is of no use then.
  [[nodiscard]] bool feed(std::string_view bytes);

  /// The stream has ended: an event that lacks only its blank line is reported too.
  void finish();

 private:
  [[nodiscard]] bool keep(std::string_view bytes);
  bool take_line(std::string_view line);
  void dispatch();

  OnEvent on_event_;
  std::string line_;       // the unfinished line
  bool skipping_ = false;  // the rest of it is of no interest
  bool after_cr_ = false;
  std::string name_;
  int http_status_ = 0;
  std::string data_;
  bool has_data_ = false;
};

}  // namespace bailian
