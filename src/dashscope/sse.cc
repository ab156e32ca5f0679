#include "dashscope/sse.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

// Some files and gateways set more than one.
std::string_view without_marks(std::string_view line) {
  constexpr int kMaxMarks = 3;
  for (int i = 0; i < kMaxMarks && line.starts_with(kByteOrderMark); ++i) {
    line.remove_prefix(kByteOrderMark.size());
  }
  return line;
}

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
    if (end == std::string_view::npos) return keep(bytes);
    std::string_view line = bytes.substr(0, end);
    if (skipping_ || !line_.empty()) {
      if (!keep(line)) return false;
      line = line_;
    }
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    if (!std::exchange(skipping_, false) && !take_line(line)) return false;
    line_.clear();
  }
  return true;
}

void SseParser::finish() {
  if (!std::exchange(skipping_, false) && !line_.empty() && !take_line(line_)) return;
  line_.clear();
  dispatch();
}

// Adds to the unfinished line what may be of interest.
bool SseParser::keep(std::string_view bytes) {
  if (skipping_) return true;
  const size_t room = kMaxOtherBytes - std::min(line_.size(), kMaxOtherBytes);
  line_.append(bytes.substr(0, room));
  bytes.remove_prefix(std::min(room, bytes.size()));
  if (bytes.empty()) return true;
  if (!without_marks(line_).starts_with("data:")) {
    skipping_ = true;
    line_ = std::string();
    return true;
  }
  if (line_.size() + bytes.size() > kMaxEventBytes) return false;
  line_.append(bytes);
  return true;
}

bool SseParser::take_line(std::string_view line) {
  const size_t line_bytes = line.size();
  line = without_marks(line);
  if (line.empty()) {
    dispatch();
    return true;
  }
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  const bool is_data = field == "data";
  if (!is_data && line_bytes > kMaxOtherBytes) return true;
  if (field.empty()) {
    if (const int status = status_in_comment(value)) http_status_ = status;
    return true;
  }
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") {
    name_ = value;
  } else if (is_data) {
    if (line_bytes > kMaxEventBytes || data_.size() + value.size() >= kMaxEventBytes) return false;
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
