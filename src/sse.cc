#include "sse.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace bailian {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// LF is what DashScope sends, so it is looked for first; a CR can only stand before it.
size_t find_line_end(std::string_view bytes) {
  const size_t lf = bytes.find('\n');
  const size_t cr = bytes.substr(0, lf).find('\r');
  return cr != std::string_view::npos ? cr : lf;
}

int status_in_comment(std::string_view comment) {
  constexpr std::string_view kName = "HTTP_STATUS/";
  comment.remove_prefix(std::min(comment.find_first_not_of(' '), comment.size()));
  if (!comment.starts_with(kName)) return 0;
  const std::string_view digits = comment.substr(kName.size());
  int status = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), status);
  const bool three_digits =
      error == std::errc() && end == digits.data() + digits.size() && digits.size() == 3;
  return three_digits && status >= 100 ? status : 0;
}

}  // namespace

bool SseParser::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (after_cr_) {
      after_cr_ = false;
      if (bytes.front() == '\n') bytes.remove_prefix(1);
      continue;
    }
    const size_t end = find_line_end(bytes);
    if (line_.size() + std::min(end, bytes.size()) > kMaxEventBytes) return false;
    if (end == std::string_view::npos) {
      line_.append(bytes);
      return true;
    }
    std::string_view line = bytes.substr(0, end);
    if (!line_.empty()) line = line_.append(line);
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    if (!take_line(line)) return false;
    line_.clear();
  }
  return true;
}

void SseParser::finish() {
  if (!line_.empty() && !take_line(line_)) return;
  line_.clear();
  dispatch();
}

bool SseParser::take_line(std::string_view line) {
  if (std::exchange(at_start_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  if (line.empty()) {
    dispatch();
    return true;
  }
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  if (field.empty()) {
    if (const int status = status_in_comment(value)) http_status_ = status;
    return true;
  }
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") {
    name_ = value;
  } else if (field == "data") {
    if (data_.size() + value.size() >= kMaxEventBytes) return false;
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  }
  return true;
}

void SseParser::dispatch() {
  if (has_data_) on_event_(SseEvent{name_, http_status_, data_});
  name_.clear();
  http_status_ = 0;
  data_ = std::string();  // between two events a parser needs no buffer
  has_data_ = false;
}

}  // namespace bailian
