#include "ledger/redis_reply.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

namespace bailian {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr size_t kMaxLineBytes = size_t{64} << 10;  // an error may quote much

template <typename Number>
std::optional<Number> whole_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

RedisReply text_reply(RedisReply::Kind kind, std::string_view text) {
  return {kind, 0, std::string(text), {}};
}

}  // namespace

std::optional<uint64_t> number_in(const RedisReply& reply) {
  if (reply.kind == RedisReply::Kind::kText) return whole_number<uint64_t>(reply.text);
  if (reply.kind != RedisReply::Kind::kInteger || reply.integer < 0) return std::nullopt;
  return static_cast<uint64_t>(reply.integer);
}

std::optional<RedisReply> RedisReplyReader::next() {
  while (auto item = next_item()) {
    while (!open_.empty()) {
      OpenArray& array = open_.back();
      array.reply.items.push_back(std::move(*item));
      if (--array.missing > 0) break;
      item = std::move(array.reply);
      open_.pop_back();
    }
    if (!open_.empty()) continue;
    buffer_.erase(0, std::exchange(begin_, 0));
    scanned_ = reply_bytes_ = reply_items_ = 0;
    return item;
  }
  if (fault_.empty() && reply_bytes_ + buffer_.size() - begin_ > kMaxReplyBytes)
    refuse(fmt::format("a reply of more than {} bytes", kMaxReplyBytes));
  if (!fault_.empty()) {
    buffer_.clear();
    begin_ = scanned_ = 0;
  }
  return std::nullopt;
}

// A reply that is not an array with items, complete. An array with items is opened instead.
std::optional<RedisReply> RedisReplyReader::next_item() {
  while (fault_.empty()) {
    const size_t start = begin_;
    const auto line = take_line();
    if (!line) return std::nullopt;
    if (line->empty()) return refuse("a reply without a type");
    const std::string_view rest = line->substr(1);
    std::optional<RedisReply> item;
    switch (line->front()) {
      case '+':
        item = text_reply(RedisReply::Kind::kText, rest);
        break;
      case '-':
        item = text_reply(RedisReply::Kind::kError, rest);
        break;
      case ':':
        if (const auto number = whole_number<int64_t>(rest)) {
          item = RedisReply{RedisReply::Kind::kInteger, *number, {}, {}};
          break;
        }
        return refuse("an integer that is none");
      case '$':
        item = take_string(rest);
        if (!item) {  // its bytes are not all there: the line is read again with them
          begin_ = scanned_ = start;
          return std::nullopt;
        }
        break;
      case '*':
        item = open_array(rest);
        break;
      default:
        return refuse("not a reply of a Redis server");
    }
    reply_bytes_ += begin_ - start;
    if (reply_bytes_ > kMaxReplyBytes)
      return refuse(fmt::format("a reply of more than {} bytes", kMaxReplyBytes));
    if (item || !fault_.empty()) return item;
  }
  return std::nullopt;
}

// Without its end.
std::optional<std::string_view> RedisReplyReader::take_line() {
  const size_t end = buffer_.find(kLineEnd, std::max(begin_, scanned_));
  if (end == std::string::npos) {
    scanned_ = std::max(begin_, buffer_.empty() ? 0 : buffer_.size() - 1);
    if (buffer_.size() - begin_ > kMaxLineBytes) refuse("a line that does not end");
    return std::nullopt;
  }
  const auto line = std::string_view(buffer_).substr(begin_, end - begin_);
  if (line.size() > kMaxLineBytes) {
    refuse("a line that does not end");
    return std::nullopt;
  }
  begin_ = scanned_ = end + kLineEnd.size();
  return line;
}

std::optional<RedisReply> RedisReplyReader::take_string(std::string_view length) {
  const auto bytes = whole_number<int64_t>(length);
  if (!bytes || *bytes < -1) return refuse("a string with a wrong length");
  if (*bytes == -1) return RedisReply{};
  const auto size = static_cast<size_t>(*bytes);
  if (size > kMaxReplyBytes) return refuse(fmt::format("a reply of more than {} bytes", kMaxReplyBytes));
  if (buffer_.size() - begin_ < size + kLineEnd.size()) return std::nullopt;
  const auto text = std::string_view(buffer_).substr(begin_, size);
  if (std::string_view(buffer_).substr(begin_ + size, kLineEnd.size()) != kLineEnd)
    return refuse("a string without an end");
  begin_ = scanned_ = begin_ + size + kLineEnd.size();
  return text_reply(RedisReply::Kind::kText, text);
}

std::optional<RedisReply> RedisReplyReader::open_array(std::string_view length) {
  const auto count = whole_number<int64_t>(length);
  if (!count || *count < -1) return refuse("an array with a wrong length");
  if (*count == -1) return RedisReply{};
  RedisReply array{RedisReply::Kind::kArray, 0, {}, {}};
  if (*count == 0) return array;
  if (static_cast<uint64_t>(*count) > kMaxItems - reply_items_)
    return refuse(fmt::format("a reply of more than {} items", kMaxItems));
  if (open_.size() == kMaxDepth) return refuse(fmt::format("arrays more than {} deep", kMaxDepth));
  reply_items_ += static_cast<size_t>(*count);
  open_.push_back({std::move(array), static_cast<size_t>(*count)});
  return std::nullopt;
}

std::optional<RedisReply> RedisReplyReader::refuse(std::string why) {
  fault_ = std::move(why);
  open_.clear();
  return std::nullopt;
}

void append_redis_command(std::string& out, std::span<const std::string_view> words) {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", words.size());
  for (const std::string_view word : words)
    fmt::format_to(std::back_inserter(out), "${}\r\n{}\r\n", word.size(), word);
}

}  // namespace bailian
