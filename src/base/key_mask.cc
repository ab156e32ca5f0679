#include "base/key_mask.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace bailian {
namespace {

constexpr size_t kShortestKey = 8;
// Every key begins with `sk-`; holding back each `s` until the next piece would be seen.
constexpr size_t kShownBytes = 3;
constexpr std::string_view kMask = "***";  // no character of a key, so that it completes none

bool is_key_char(char c) { return is_alnum(c) || c == '-' || c == '_'; }

}  // namespace

KeyMask::KeyMask(std::string_view key) : key_(key.size() < kShortestKey ? std::string_view() : key) {}

std::string_view KeyMask::feed(std::string_view piece) {
  if (key_.empty()) return piece;
  if (begun_.empty() && piece.find(key_) == std::string_view::npos) {
    const size_t begun = begun_in(piece);
    if (begun <= kShownBytes) {
      begun_ = piece.substr(piece.size() - begun);
      shown_ = begun;
      return piece;
    }
  }
  std::string text = std::exchange(begun_, {});
  text += piece;
  size_t at = std::exchange(shown_, 0);  // the bytes before it were returned
  size_t searched = 0;
  out_.clear();
  for (size_t found = 0; (found = text.find(key_, searched)) != std::string::npos;) {
    if (found > at) out_.append(text, at, found - at);
    out_ += kMask;
    at = searched = found + key_.size();
  }
  const size_t start = text.size() - begun_in(std::string_view(text).substr(searched));
  begun_ = text.substr(start);
  shown_ = std::min(begun_.size(), kShownBytes);
  const size_t end = start + shown_;
  if (end > at) out_.append(text, at, end - at);
  return out_;
}

std::string_view KeyMask::finish() {
  out_ = std::exchange(begun_, {}).substr(std::exchange(shown_, 0));
  return out_;
}

// The longest suffix of the text that is a prefix of the key.
size_t KeyMask::begun_in(std::string_view text) const {
  size_t size = std::min(text.size(), key_.size() - 1);
  while (size > 0 && !text.ends_with(key_.substr(0, size))) --size;
  return size;
}

bool shows_key(std::string_view text, std::string_view key) {
  return key.size() >= kShortestKey && text.find(key) != std::string_view::npos;
}

std::string without_key(std::string_view text, std::string_view key) {
  KeyMask mask(key);
  return std::string(mask.feed(text));
}

std::string scrub(std::string_view text, std::string_view api_key) {
  constexpr size_t kMaxBytes = 500;
  constexpr size_t kMaxReadBytes = 8192;
  std::string clean = printable(utf8_prefix(text, kMaxReadBytes));
  for (size_t at = 0; !api_key.empty() && (at = clean.find(api_key, at)) != std::string::npos;
       at += kMask.size()) {
    clean.replace(at, api_key.size(), kMask);
  }
  if (text.size() > kMaxReadBytes) clean = without_key(clean, api_key);  // the cut may lie within the key
  for (size_t at = 0; (at = clean.find("sk-", at)) != std::string::npos; at += 3) {
    size_t end = at + 3;
    while (end < clean.size() && is_key_char(clean[end])) ++end;
    if (end - at >= kShortestKey) clean.replace(at + 3, end - at - 3, "***");
  }
  return std::string(utf8_prefix(clean, kMaxBytes));
}

}  // namespace bailian
