#include "pieces.h"

#include <cassert>
#include <chrono>

#include "utf8.h"

namespace bailian::simulator {
namespace {

constexpr std::size_t kMaxWordBytes = 24;

// One Han character or two, alternating, as a tokenizer would produce them.
std::size_t han_bytes(std::string_view text, std::size_t index) {
  const std::size_t first = char_bytes(text);
  const std::string_view rest = text.substr(first);
  return index % 3 != 0 && starts_with_han(rest) ? first + char_bytes(rest) : first;
}

// A word with the spaces before it; each non-ASCII character is a separate piece.
std::size_t word_bytes(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && text[length] == ' ') ++length;
  const std::size_t start = length;
  while (length < text.size() && length < kMaxWordBytes) {
    const char c = text[length];
    if (static_cast<unsigned char>(c) >= 0x80 || c == ' ') break;
    ++length;
    if (c == '\n') break;
  }
  if (length == start && length < text.size()) length += char_bytes(text.substr(length));
  return length;
}

}  // namespace

Pieces Pieces::numbered(std::size_t count) {
  Pieces pieces;
  pieces.numbered_ = count;
  return pieces;
}

Pieces Pieces::clock(std::size_t count) {
  Pieces pieces = numbered(count);
  pieces.is_clock_ = true;
  return pieces;
}

Pieces Pieces::tokens(std::string_view text) {
  Pieces pieces;
  while (!text.empty()) {
    const std::size_t length = starts_with_han(text) ? han_bytes(text, pieces.size()) : word_bytes(text);
    pieces.add(text.substr(0, length));
    text.remove_prefix(length);
  }
  return pieces;
}

Pieces Pieces::of_chars(std::string_view text, std::size_t chars_each) {
  Pieces pieces;
  while (!text.empty()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < chars_each && length < text.size(); ++i) {
      length += char_bytes(text.substr(length));
    }
    pieces.add(text.substr(0, length));
    text.remove_prefix(length);
  }
  return pieces;
}

void Pieces::add(std::string_view piece) {
  text_ += piece;
  ends_.push_back(text_.size());
}

void Pieces::insert(std::size_t index, std::string_view piece) {
  assert(numbered_ == 0 && index <= ends_.size());
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  text_.insert(begin, piece);
  ends_.insert(ends_.begin() + static_cast<std::ptrdiff_t>(index), begin);
  for (std::size_t i = index; i < ends_.size(); ++i) ends_[i] += piece.size();
}

void Pieces::append_piece(std::size_t index, std::string& out) const {
  assert(index < size());
  if (is_clock_) {
    out += '@';
    out += std::to_string(index + 1);
    out += '.';
    out +=
        std::to_string(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
    out += ';';
    return;
  }
  if (numbered_ != 0) {
    out += "tok";
    out += std::to_string(index + 1);
    out += ' ';
    return;
  }
  const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
  out.append(text_, begin, ends_[index] - begin);
}

std::string Pieces::whole() const {
  if (numbered_ == 0) return text_;
  std::string text;
  for (std::size_t i = 0; i < numbered_; ++i) append_piece(i, text);
  return text;
}

}  // namespace bailian::simulator
