#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bailian {

/// What a Redis server answers to one command (RESP2).
struct RedisReply {
  enum class Kind { kNil, kInteger, kText, kError, kArray };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text;  // of a status, a string or an error
  std::vector<RedisReply> items;

  bool operator==(const RedisReply&) const = default;
  [[nodiscard]] bool is_error() const { return kind == Kind::kError; }
};

/// A whole number that is not negative, sent as an integer or as its digits; nothing if it is neither.
std::optional<uint64_t> number_in(const RedisReply& reply);

/// Reads replies from the bytes of a connection. The server may be anything: what a reply can take of memory
/// and stack is limited, and what is not RESP2 is refused, once and for all.
class RedisReplyReader {
 public:
  static constexpr size_t kMaxReplyBytes = size_t{4} << 20;
  static constexpr size_t kMaxItems = size_t{1} << 17;  // of all arrays of a reply together
  static constexpr size_t kMaxDepth = 8;

  /// Throws std::bad_alloc; then the reader can only be destroyed.
  void feed(std::string_view bytes) { buffer_ += bytes; }
  /// The next complete reply; nothing until more is fed. Throws std::bad_alloc.
  std::optional<RedisReply> next();
  /// Why the bytes are refused; empty: they are not.
  [[nodiscard]] const std::string& fault() const { return fault_; }

 private:
  struct OpenArray {
    RedisReply reply;
    size_t missing;  // items
  };
  std::optional<RedisReply> next_item();
  std::optional<std::string_view> take_line();
  std::optional<RedisReply> take_string(std::string_view length);
  std::optional<RedisReply> open_array(std::string_view length);
  std::optional<RedisReply> refuse(std::string why);

  std::string buffer_;
  size_t begin_ = 0;    // of the next item
  size_t scanned_ = 0;  // no line ends before
  size_t reply_bytes_ = 0;
  size_t reply_items_ = 0;
  std::vector<OpenArray> open_;
  std::string fault_;
};

/// Appends a command as the server reads it. Throws std::bad_alloc.
void append_redis_command(std::string& out, std::span<const std::string_view> words);
inline void append_redis_command(std::string& out, std::initializer_list<std::string_view> words) {
  append_redis_command(out, std::span(words.begin(), words.size()));
}

}  // namespace bailian
