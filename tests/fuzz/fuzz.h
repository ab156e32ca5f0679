#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string_view>

// Shared by the fuzz targets. An input is only the text to parse, so that any file can be a seed; its hash
// decides where to cut it and which settings to use.
namespace bailian::fuzz {

/// Ends the program when the claim is false; libFuzzer keeps the input.
inline void expect(bool holds, const char* claim) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", claim);
  std::abort();
}

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::minstd_rand choices_for(std::string_view text) {
  return std::minstd_rand(static_cast<unsigned>(std::hash<std::string_view>{}(text)));
}

/// Feeds `bytes` in pieces of one byte up to all of it, until `feed` returns false.
template <typename Feed>
void feed_in_pieces(std::string_view bytes, std::minstd_rand& random, Feed feed) {
  const size_t longest = size_t{1} << random() % 13;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, 1 + random() % longest);
    bytes.remove_prefix(piece.size());
    if (!feed(piece)) return;
  }
}

}  // namespace bailian::fuzz
