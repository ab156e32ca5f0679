#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bailian::simulator {

// The text of an answer and where it is cut into events.
class Pieces {
 public:
  Pieces() = default;
  // `tok1 `, `tok2 `, ... generated on demand.
  static Pieces numbered(std::size_t count);
  // `@1.NANOSECONDS;`, `@2.NANOSECONDS;`, ...: the monotonic time at which each was generated.
  static Pieces clock(std::size_t count);
  // Each piece is a word, or one or two Han characters.
  static Pieces tokens(std::string_view text);
  static Pieces of_chars(std::string_view text, std::size_t chars_each);

  void add(std::string_view piece);
  void insert(std::size_t index, std::string_view piece);

  std::size_t size() const { return numbered_ != 0 ? numbered_ : ends_.size(); }
  void append_piece(std::size_t index, std::string& out) const;
  std::string whole() const;

 private:
  std::string text_;
  std::vector<std::size_t> ends_;
  std::size_t numbered_ = 0;
  bool is_clock_ = false;
};

}  // namespace bailian::simulator
