#include "dashscope/sse.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

// Some files and gateways write more than one.
std::string_view without_marks(std::string_view line) {
  constexpr int kMaxMarks = 3;
  for (int i = 0; i < kMaxMarks && line.starts_with(kByteOrderMark); ++i) {
    line.remove_prefix(kByteOrderMark.size());
  }
  return line;
}

// DashScope sends LF, so LF is searched for first; only a CR before it can end the line earlier.
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

void SseParser::feed(std::string_view bytes) {
  assert(unread_.empty());
  if (!is_refused_) unread_ = bytes;
}

std::optional<SseEvent> SseParser::next() {
  if (is_complete_) clear_event();
  while (!unread_.empty()) {
    if (std::exchange(after_cr_, false) && unread_.front() == '\n') {
      unread_.remove_prefix(1);
      continue;
    }
    const size_t end = find_line_end(unread_);
    std::string_view line = unread_.substr(0, end);
    if (end == std::string_view::npos || skipping_ || !line_.empty()) {
      keep_unfinished(line);
      line = line_;
    }
    if (end == std::string_view::npos || is_refused_) break;
    after_cr_ = unread_[end] == '\r';
    unread_.remove_prefix(end + 1);
    is_complete_ = !std::exchange(skipping_, false) && ends_event(line);
    free_memory(line_);
    if (is_complete_) return SseEvent{name_, http_status_, data_};
  }
  unread_ = {};
  return std::nullopt;
}

// Copies the bytes unless the line is one to skip.
void SseParser::keep_unfinished(std::string_view bytes) {
  if (skipping_) return;
  const size_t room = kMaxOtherBytes - std::min(line_.size(), kMaxOtherBytes);
  line_.append(bytes.substr(0, room));
  bytes.remove_prefix(std::min(room, bytes.size()));
  if (bytes.empty()) return;
  if (!without_marks(line_).starts_with("data:")) {
    skipping_ = true;
    free_memory(line_);
  } else if (line_.size() + bytes.size() > kMaxEventBytes) {
    refuse();
  } else {
    line_.append(bytes);
  }
}

// Takes a line; true when it completes an event.
bool SseParser::ends_event(std::string_view line) {
  const std::string_view unmarked = without_marks(line);
  if (!unmarked.empty()) {
    take_field(unmarked, line.size());
    return false;
  }
  if (!has_data_) clear_event();
  return has_data_;
}

void SseParser::take_field(std::string_view line, size_t line_bytes) {
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  const bool is_data = field == "data";
  if (!is_data && line_bytes > kMaxOtherBytes) return;
  if (field.empty()) {
    if (const int status = status_in_comment(value)) http_status_ = status;
    return;
  }
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") name_ = value;
  if (is_data) line_bytes > kMaxEventBytes ? refuse() : take_data(value);
}

void SseParser::take_data(std::string_view value) {
  if (data_.size() + value.size() >= kMaxEventBytes) return refuse();
  if (has_data_) data_ += '\n';
  data_ += value;
  has_data_ = true;
}

void SseParser::refuse() {
  is_refused_ = true;
  unread_ = {};
}

// The next stream's event gets the memory, which is still in the processor's cache.
void SseParser::clear_event() {
  name_.clear();
  http_status_ = 0;
  free_memory(data_);
  has_data_ = is_complete_ = false;
}

}  // namespace bailian
